"""A task that finds nothing knows it soon: in a process of its own, as Airflow runs it, on the real broker."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from include.definition.pipeline import Pipeline
from include.kafka.connection import KafkaConnection
from include.local.broker import Cluster
from include.storage.state import state_dir
from tests.support.mlflow_database import put_database
from tests.support.operators import DagRun, context_of, ensure_topics, produce_batch
from tests.support.processes import run_python

HEAVY = {"torch", "mlflow", "sklearn", "pandas", "pyarrow", "scipy", "matplotlib", "sqlalchemy"}
# Of the CPU time of importing Airflow's task runner.
MAX_SHARE = 0.5
MAX_REQUESTS = 100
REQUEST = re.compile(r"Sent (\w+)Request ")


@pytest.fixture
def pipeline(
    kafka: KafkaConnection, new_pipeline: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch, broker: Cluster
) -> Pipeline:
    """A pipeline with empty topics, and a connection that logs its requests."""
    pipeline = new_pipeline()
    put_database(state_dir())
    ensure_topics(pipeline)
    settings = {"bootstrap.servers": broker.bootstrap_servers, "debug": "protocol"}
    monkeypatch.setenv("AIRFLOW_CONN_KAFKA_DEFAULT", json.dumps({"conn_type": "kafka", "extra": settings}))
    return pipeline


def skipped(pipeline: Pipeline, operator: str, **arguments: Any) -> dict[str, Any]:
    """What `benchmarks.skipped_task` says of the task, and its requests to Kafka by name."""
    done = run_python("-m", "benchmarks.skipped_task", pipeline.name, operator, json.dumps(arguments))
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "requests": Counter(REQUEST.findall(done.stderr))}


def assert_light(task: dict[str, Any], record: Callable[[str, object], None], name: str) -> None:
    sent, connections = task["requests"].total(), task["requests"]["ApiVersion"]
    cost = f"{task['share']:.2f} of the imports' CPU, {task['seconds']:.2f} s"
    record(f"{name} that skips", f"{cost}, {sent} requests over {connections} connections")
    assert HEAVY.isdisjoint(task["packages"]), task["packages"]
    assert task["share"] < MAX_SHARE, task
    assert 0 < sent <= MAX_REQUESTS, task["requests"]


# Five, and nine or a few more. A client of its own for each question makes it 15 and 21.
@pytest.mark.parametrize(("step", "most_connections"), [("train", 9), ("predict", 14)])
def test_freezing_finds_nothing_new_without_a_heavy_import(
    pipeline: Pipeline, record_property: Callable[[str, object], None], step: str, most_connections: int
) -> None:
    task = skipped(pipeline, "FreezeRangesOperator", step=step)

    assert "has 0 new" in task["reason"]
    assert task["requests"]["ApiVersion"] <= most_connections, task["requests"]
    assert_light(task, record_property, f"{step}: a freeze")


def test_a_prediction_without_a_champion_skips_in_its_first_task(
    pipeline: Pipeline, record_property: Callable[[str, object], None]
) -> None:
    produce_batch(pipeline, records=20).execute(context_of(DagRun("d", "r")))

    task = skipped(pipeline, "FreezeRangesOperator", step="predict", version="champion")

    assert "no champion yet" in task["reason"]
    assert_light(task, record_property, "no champion: a freeze")


def test_an_exhausted_source_is_found_without_a_heavy_import(
    pipeline: Pipeline, record_property: Callable[[str, object], None]
) -> None:
    produce_batch(pipeline, records=100_000).execute(context_of(DagRun("d", "r")))

    task = skipped(pipeline, "ProduceBatchOperator")

    assert "all are in earlier batches" in task["reason"]
    assert_light(task, record_property, "ingest: a batch")
