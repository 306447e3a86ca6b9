"""Hands Millrace's metrics to Airflow's, for StatsD, Datadog or OpenTelemetry, and its spans; see docs/metrics.md."""

from __future__ import annotations

from collections.abc import Mapping

from airflow.sdk.observability.stats import Stats
from opentelemetry import trace

from include.metrics import Counters, Gauges, Metrics

PREFIX = "millrace"


class AirflowMetrics(Metrics):
    """Reports to the backend that Airflow is configured for, or to none."""

    def count(self, metric: Counters, value: int, **placeholders: str) -> None:
        if value:  # zero is not sent
            Stats.incr(f"{PREFIX}.{metric.name_for(**placeholders)}", value)

    def gauge(self, metric: Gauges, value: float, **placeholders: str) -> None:
        Stats.gauge(f"{PREFIX}.{metric.name_for(**placeholders)}", value)

    def span(self, name: str, began_ns: int, attributes: Mapping[str, str | int]) -> None:
        # Where Airflow's tracing is off, this tracer drops it.
        trace.get_tracer(PREFIX).start_span(name, start_time=began_ns, attributes=attributes).end()
