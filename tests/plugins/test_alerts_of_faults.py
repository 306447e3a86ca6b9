"""Each kind of fault of the fault suite that a retry does not heal is one alert about its run, with its sentence.

The steps of a prediction run on a real broker, and a failing one ends the run. What a retry heals (a kill, a broker
that restarts) ends in a run that succeeds, which raises no alert.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
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
from include.kafka.ranges import OffsetRange, freeze_ranges
from include.kafka.topics import ensure_topics as create_topics
from include.local.broker import running_cluster
from millrace.alerts import alert_failed_run
from millrace.operators import ApproveModelOperator, FreezeRangesOperator, TrainModelOperator
from millrace.operators.base import airflow_errors
from tests.support.administrator import delete_records, delete_topic, recreate_topic
from tests.support.elections import TIMEOUT_S, lose_tail
from tests.support.failed_tasks import FailedTask
from tests.support.http_notifier import Receiver, receiving
from tests.support.mlflow_database import put_database
from tests.support.operators import DagRun, context_of, ensure_topics
from tests.support.producers import produce
from tests.support.publishing import bad_request, publish, request
from tests.support.small_disk import small_disk
from tests.support.tiny_pipelines import SCHEMA, letter, numbers, tiny_predictor

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
def alerted(
    receiver: Receiver, new_name: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Pipeline:
    """A pipeline whose alerts reach the receiver, in an environment of its own, without topics."""
    monkeypatch.setenv("MILLRACE_ENVIRONMENT", new_name())
    (tmp_path / "alerted.toml").write_text(FILE + receiver.toml)
    monkeypatch.setenv("MILLRACE_PIPELINES", str(tmp_path))
    return load_pipeline("alerted")


@pytest.fixture
def own(alerted: Pipeline, kafka: KafkaConnection) -> KafkaConnection:
    """The broker in that environment."""
    return KafkaConnection(kafka.settings, timeout_s=20)


@pytest.fixture
def pipeline(own: KafkaConnection, alerted: Pipeline) -> Pipeline:
    """A pipeline that has answered requests."""
    ensure_topics(alerted)
    produce(own, alerted.requests_topic, map(request, range(10)))
    predict(own, alerted, FailedTask())
    return alerted


def predict(own: KafkaConnection, pipeline: Pipeline, instance: FailedTask) -> None:
    """The two tasks of a prediction; the second one with a model that no registry has."""
    context: Any = {**context_of(DagRun(f"{pipeline.name}.predict", "r")), "ti": instance}
    freeze = FreezeRangesOperator(task_id="t", pipeline=pipeline.name, step="predict", request_timeout=5)
    ranges = [OffsetRange(**item) for item in freeze.execute(context)["ranges"]]
    with airflow_errors(context):
        publish(own, pipeline, ranges, tiny_predictor(pipeline.name))


def run_that_fails(own: KafkaConnection, pipeline: Pipeline, steps: Callable[..., None] = predict) -> None:
    """A run, and Airflow's callback for it."""
    instance = FailedTask()
    # Airflow's exception, or the library's where Airflow would retry.
    with pytest.raises((AirflowException, MillraceError)):
        steps(own, pipeline, instance)
    dag = SimpleNamespace(dag_id=f"{pipeline.name}.{steps.__name__}")
    alert_failed_run({"dag": dag, "run_id": "r", "reason": "task_failure", "ti": instance})


def train(own: KafkaConnection, pipeline: Pipeline, instance: FailedTask) -> None:
    """The training task of a run, of all samples."""
    context: Any = {**context_of(DagRun(f"{pipeline.name}.train", "r")), "ti": instance}
    ranges = [asdict(item) for item in freeze_ranges(own, pipeline.samples_topic)]
    TrainModelOperator(task_id="t", pipeline=pipeline.name, ranges=ranges).execute(context)


def approve(own: KafkaConnection, pipeline: Pipeline, instance: FailedTask) -> None:
    """What the task does that a person has answered."""
    context: Any = {**context_of(DagRun(f"{pipeline.name}.train", "r")), "ti": instance}
    asked = ApproveModelOperator(
        task_id="t", pipeline=pipeline.name, subject="?", version=1, champion_version=None, approval_s=60
    )
    user = {"id": "ada", "name": "ada"}
    asked.execute_complete(context, {"chosen_options": ["Approve"], "responded_by_user": user, "params_input": {}})


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


def test_a_decision_that_cannot_be_recorded_is_one_alert_that_says_why(
    own: KafkaConnection, pipeline: Pipeline, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_KAFKA_DEFAULT", json.dumps({"conn_type": "kafka", "extra": {}}))

    run_that_fails(own, pipeline, approve)

    (alert,) = receiver.alerts
    assert alert["event"] == "failed"
    assert "bootstrap.servers" in alert["text"]


def test_a_step_that_stays_held_is_one_alert_for_all_runs_that_find_it_so(
    own: KafkaConnection, pipeline: Pipeline, receiver: Receiver
) -> None:
    send_dross(own, pipeline)

    for _ in range(3):
        run_that_fails(own, pipeline)

    assert [alert["event"] for alert in receiver.alerts] == ["held"]


def test_a_full_disk_is_one_alert_about_its_run(
    own: KafkaConnection, pipeline: Pipeline, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [
        request(number, headers=[("schema", SCHEMA), ("label", letter(numbers(number)).encode())])
        for number in range(30)
    ]
    produce(own, pipeline.samples_topic, samples)
    with small_disk(tmp_path / "small") as disk:
        monkeypatch.setenv("MILLRACE_STATE", str(disk.path))
        put_database(disk.path)
        disk.leave(0)

        run_that_fails(own, pipeline, train)

    (alert,) = receiver.alerts
    assert alert["event"] == "failed"
    assert f"Run r of {pipeline.name}.train has failed" in alert["text"]
    assert f"There is no room for {disk.path}" in alert["text"]


@pytest.mark.long
def test_a_log_that_lost_its_tail_in_an_election_is_one_alert_about_its_run(
    alerted: Pipeline, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_cluster(tmp_path / "cluster", nodes=3) as cluster:
        settings = {"bootstrap.servers": cluster.bootstrap_servers}
        monkeypatch.setenv("AIRFLOW_CONN_KAFKA_DEFAULT", json.dumps({"conn_type": "kafka", "extra": settings}))
        kafka = KafkaConnection(settings, timeout_s=TIMEOUT_S)

        def answer() -> None:
            ensure_topics(alerted)
            predict(kafka, alerted, FailedTask())

        requests = [request(number) for number in range(20)]
        topic = alerted.requests_topic
        lose_tail(cluster, kafka, topic, kept=requests[:10], lost=requests[10:], work=answer)
        produce(kafka, topic, requests, timeout_s=TIMEOUT_S)

        run_that_fails(kafka, alerted)

    (alert,) = receiver.alerts
    assert alert["event"] == "failed"
    assert "its tail was lost" in alert["text"]
