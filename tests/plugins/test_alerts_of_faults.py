"""Each kind of fault of the fault suite that a retry does not heal is one alert about its run, with its sentence.

The steps of a prediction run on a real broker, and a failing one ends the run. What a retry heals (a kill, a broker
that restarts) ends in a run that succeeds, which raises no alert.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException

from include.definition.files import load_pipeline
from include.definition.pipeline import Pipeline
from include.errors import MillraceError
from include.exactly_once.ledger import ledger_name, ledger_topic
from include.kafka.connection import KafkaConnection
from include.kafka.ranges import OffsetRange
from include.kafka.topics import ensure_topics as create_topics
from millrace.alerts import alert_failed_run
from millrace.operators import FreezeRangesOperator
from millrace.operators.base import airflow_errors
from tests.support.administrator import delete_records, delete_topic, recreate_topic
from tests.support.failed_tasks import FailedTask
from tests.support.http_notifier import Receiver, receiving
from tests.support.operators import DagRun, context_of, ensure_topics
from tests.support.producers import produce
from tests.support.publishing import bad_request, publish, request
from tests.support.tiny_pipelines import tiny_predictor

FILE = """
description = "Which of three numbers is the largest?"
[topics]
partitions = 1
[format]
kind = "tensor.raw"
shape = [4]
dtype = "float32"
[source]
kind = "random"
shape = [4]
labels = ["a", "b", "c"]
total = 100
[model]
kind = "convnet"
[training]
labels = ["a", "b", "c"]
"""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def own(kafka: KafkaConnection, new_name: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> KafkaConnection:
    """The broker in an environment of the test's own, with a ledger of its own."""
    monkeypatch.setenv("MILLRACE_ENVIRONMENT", new_name())
    return KafkaConnection(kafka.settings, timeout_s=20)


@pytest.fixture
def pipeline(own: KafkaConnection, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """A pipeline that has answered requests, and whose alerts reach the receiver."""
    (tmp_path / "alerted.toml").write_text(FILE + receiver.toml)
    monkeypatch.setenv("MILLRACE_PIPELINES", str(tmp_path))
    pipeline = load_pipeline("alerted")
    ensure_topics(pipeline)
    produce(own, pipeline.requests_topic, map(request, range(10)))
    predict(own, pipeline, FailedTask())
    return pipeline


def predict(own: KafkaConnection, pipeline: Pipeline, instance: FailedTask) -> None:
    """The two tasks of a prediction; the second one with a model that no registry has."""
    context: Any = {**context_of(DagRun(f"{pipeline.name}.predict", "r")), "ti": instance}
    freeze = FreezeRangesOperator(task_id="t", pipeline=pipeline.name, step="predict", request_timeout=5)
    ranges = [OffsetRange(**item) for item in freeze.execute(context)["ranges"]]
    with airflow_errors(context):
        publish(own, pipeline, ranges, tiny_predictor(pipeline.name))


def run_that_fails(own: KafkaConnection, pipeline: Pipeline) -> None:
    """A run, and Airflow's callback for it."""
    instance = FailedTask()
    # Airflow's exception, or the library's where Airflow would retry.
    with pytest.raises((AirflowException, MillraceError)):
        predict(own, pipeline, instance)
    dag = SimpleNamespace(dag_id=f"{pipeline.name}.predict")
    alert_failed_run({"dag": dag, "run_id": "r", "reason": "task_failure", "ti": instance})


def ask(own: KafkaConnection, pipeline: Pipeline) -> None:
    produce(own, pipeline.requests_topic, [request(20)])


def recreate_requests(own: KafkaConnection, pipeline: Pipeline) -> None:
    recreate_topic(own, pipeline.requests_topic)
    ask(own, pipeline)


def cut_requests(own: KafkaConnection, pipeline: Pipeline) -> None:
    ask(own, pipeline)
    delete_records(own, pipeline.requests_topic, 11)
    ask(own, pipeline)


def delete_ledger(own: KafkaConnection, pipeline: Pipeline) -> None:
    delete_topic(own, ledger_name(own.environment))
    ask(own, pipeline)


def recreate_ledger(own: KafkaConnection, pipeline: Pipeline) -> None:
    delete_ledger(own, pipeline)
    create_topics(own, [ledger_topic(environment=own.environment)])


def send_dross(own: KafkaConnection, pipeline: Pipeline) -> None:
    produce(own, pipeline.requests_topic, map(bad_request, range(200)))


@pytest.mark.parametrize(
    ("inflict", "event", "sentence"),
    [
        (recreate_requests, "failed", "the topic was deleted and recreated"),
        (cut_requests, "failed", "retention removed"),
        (delete_ledger, "failed", "does not exist"),
        (recreate_ledger, "failed", "ledger"),
        (send_dross, "held", "the step is held"),
    ],
)
def test_a_fault_is_one_alert_about_its_run(
    own: KafkaConnection,
    pipeline: Pipeline,
    receiver: Receiver,
    inflict: Callable[..., None],
    event: str,
    sentence: str,
) -> None:
    inflict(own, pipeline)

    run_that_fails(own, pipeline)

    (alert,) = receiver.alerts
    assert alert["event"] == event
    assert f"Run r of {pipeline.name}.predict has failed" in alert["text"]
    assert sentence in alert["text"]


def test_a_broker_that_is_away_is_one_alert_about_its_run(
    own: KafkaConnection, pipeline: Pipeline, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = {"conn_type": "kafka", "extra": {"bootstrap.servers": "127.0.0.1:1"}}
    monkeypatch.setenv("AIRFLOW_CONN_KAFKA_DEFAULT", json.dumps(nowhere))

    run_that_fails(own, pipeline)

    (alert,) = receiver.alerts
    assert alert["event"] == "failed"
    assert "No Kafka broker at 127.0.0.1:1 answered" in alert["text"]


def test_a_step_that_stays_held_is_one_alert_for_all_runs_that_find_it_so(
    own: KafkaConnection, pipeline: Pipeline, receiver: Receiver
) -> None:
    send_dross(own, pipeline)

    for _ in range(3):
        run_that_fails(own, pipeline)

    assert [alert["event"] for alert in receiver.alerts] == ["held"]
