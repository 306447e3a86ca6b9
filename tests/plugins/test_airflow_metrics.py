"""Millrace's metrics reach an OpenTelemetry collector from a process that ends, as a task's does."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from tests.support.processes import run_python

# As Airflow's task runner sets its metrics up.
TASK = """
from airflow.sdk.observability import stats
from airflow.sdk.observability.metrics.stats_utils import get_stats_factory
stats.initialize(factory=get_stats_factory(), export_legacy_names=False)

from include.metrics import Counters, Gauges
from millrace.metrics import AirflowMetrics
AirflowMetrics().count(Counters.PREDICTIONS, 3, pipeline="digits")
AirflowMetrics().count(Counters.DEAD_LETTERS, 0, pipeline="digits")
AirflowMetrics().gauge(Gauges.BACKLOG_OFFSETS, 7, pipeline="digits", step="predict")
"""


# As Airflow configures tracing, but for the exporter, which keeps what it gets.
TRACED = """
import time
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from millrace.metrics import AirflowMetrics

AirflowMetrics().span("dropped", time.time_ns(), {})
exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
began = time.time_ns() - 10**9
with trace.get_tracer("airflow").start_as_current_span("task") as task:
    AirflowMetrics().span("chunk", began, {"millrace.offsets.start": 5})
chunk, _ = exporter.get_finished_spans()
assert (chunk.name, chunk.start_time, dict(chunk.attributes)) == ("chunk", began, {"millrace.offsets.start": 5})
assert chunk.end_time - began >= 10**9
assert chunk.parent.span_id == task.get_span_context().span_id
"""


class Collector(ThreadingHTTPServer):
    """Keeps the values of all metrics by name."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.values: dict[str, int] = {}


class Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        request = ExportMetricsServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    points = metric.sum.data_points or metric.gauge.data_points
                    self.server.values[metric.name] = points[0].as_int
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.slow  # imports Airflow in another process
def test_a_collector_gets_what_a_task_reported(collector: Collector, tmp_path: Path) -> None:
    environment = {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__METRICS__OTEL_ON": "True",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"http://127.0.0.1:{collector.server_port}/v1/metrics",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    }

    run_python("-c", TASK, **environment)

    assert collector.values == {
        "airflow.millrace.digits.predictions": 3,
        "airflow.millrace.digits.predict.backlog_offsets": 7,
    }


@pytest.mark.slow  # imports Airflow in another process, where no other test has chosen how to trace
def test_a_span_is_a_part_of_the_trace_of_its_task_and_dropped_without_tracing(tmp_path: Path) -> None:
    run_python("-c", TRACED, AIRFLOW_HOME=str(tmp_path))
