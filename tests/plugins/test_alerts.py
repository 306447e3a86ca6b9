"""Alerts reach the notifiers of a pipeline's file: one for each fault, whatever happens to the others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from include.definition.files import load_pipeline, pipelines_folder
from include.definition.pipeline import Pipeline
from include.errors import PermanentError
from include.kafka.connection import KafkaConnection
from millrace import alerts
from millrace.alerts import Alert, alert_failed_run, alert_late_run, send
from millrace.operators.base import airflow_errors
from millrace.triggers import BacklogTrigger
from tests.support.failed_tasks import FailedTask
from tests.support.http_notifier import Receiver, receiving
from tests.support.operators import ensure_topics
from tests.support.producers import Record, produce

NewPipeline = Callable[..., Pipeline]
ALERT = Alert("failed", "digits", "digits.train has failed", "Why it has.")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def pipeline(new_pipeline: NewPipeline, receiver: Receiver) -> Pipeline:
    """A pipeline whose alerts reach the receiver."""
    name = new_pipeline(partitions="1").name
    file = pipelines_folder() / f"{name}.toml"
    file.write_text(f"{file.read_text()}\n[alerts]\nwaiting_s = 1\n{receiver.toml}")
    return load_pipeline(name)


def failed(pipeline: Pipeline, instance: FailedTask | None) -> None:
    dag = SimpleNamespace(dag_id=f"{pipeline.name}.predict")
    alert_failed_run({"dag": dag, "run_id": "manual", "reason": "task_failure", "ti": instance})


def failure(kind: str, text: str = "What went wrong.") -> dict[str, str]:
    return {"kind": kind, "text": text}


@pytest.mark.parametrize(
    ("left", "event"),
    [
        ([failure("TopicRecreated")], "failed"),
        ([failure("StepHeld", "Held."), failure("TooManyRejected")], "held"),
    ],
)
def test_a_failed_run_is_one_alert_with_the_error_of_its_task(
    pipeline: Pipeline, receiver: Receiver, left: list[Any], event: str
) -> None:
    failed(pipeline, FailedTask(left=left))

    text = f"Run manual of {pipeline.name}.predict has failed in publish_predictions: What went wrong."
    assert receiver.alerts == [{"event": event, "text": text}]


def test_a_run_that_finds_its_step_held_as_before_is_no_alert(pipeline: Pipeline, receiver: Receiver) -> None:
    failed(pipeline, FailedTask(left=[failure("StepHeld"), failure("StepHeld")]))

    assert receiver.alerts == []


@pytest.mark.parametrize("instance", [None, FailedTask()])
def test_a_run_whose_tasks_were_killed_is_an_alert_too(
    pipeline: Pipeline, receiver: Receiver, instance: FailedTask | None
) -> None:
    failed(pipeline, instance)

    (text,) = receiver.of("failed")
    assert "Its log says why (task_failure)." in text


def test_a_failing_task_leaves_its_error_for_the_alert(pipeline: Pipeline) -> None:
    instance = FailedTask()
    with pytest.raises(AirflowFailException), airflow_errors({"ti": instance}):
        raise PermanentError("The reason.")

    assert instance.left == [failure("PermanentError", "The reason.")]


def test_a_notifier_that_fails_stops_no_other_and_its_arguments_are_not_logged(
    pipeline: Pipeline, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    good = pipeline.alerts.notify[0]
    broken = [
        good.model_copy(update={"notifier": "no.such.Notifier", "arguments": {"token": "secret"}}),
        good.model_copy(update={"arguments": {"url": "http://127.0.0.1:1/"}}),
    ]
    many = pipeline.alerts.model_copy(update={"notify": (*broken, good)})

    assert send(pipeline.model_copy(update={"alerts": many}), ALERT)

    assert receiver.of("failed") == [ALERT.text]
    assert "was not sent by no.such.Notifier" in caplog.text
    assert f"correct alerts.notify in {pipeline.name}.toml" in caplog.text
    assert "secret" not in caplog.text
    none = pipeline.alerts.model_copy(update={"notify": tuple(broken)})
    assert not send(pipeline.model_copy(update={"alerts": none}), ALERT)  # so that its repetition is sent


def test_without_a_notifier_alerts_are_logged(new_pipeline: NewPipeline, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, logger=alerts.__name__):
        send(new_pipeline(), ALERT)

    assert f"ALERT {ALERT.title}: {ALERT.text}" in caplog.text


def test_only_a_run_that_still_goes_on_is_late(pipeline: Pipeline, receiver: Receiver) -> None:
    for state in ("success", "failed", "running"):
        run = {"dag_id": f"{pipeline.name}.train", "dag_run_id": f"was-{state}", "state": state}
        asyncio.run(alert_late_run(pipeline.name, 60.0, {"dag_run": run}))

    (text,) = receiver.of("late")
    assert text.startswith(f"Run was-running of {pipeline.name}.train has not ended 60 s after it was queued")


def test_requests_that_wait_too_long_are_one_alert_however_often_they_are_polled(
    kafka: KafkaConnection, pipeline: Pipeline, receiver: Receiver
) -> None:
    ensure_topics(pipeline)
    produce(kafka, pipeline.requests_topic, [Record(timestamp_ms=1)])
    trigger = BacklogTrigger(pipeline=pipeline.name, step="predict", kafka_conn_id="kafka_default", interval=0.05)
    polls = 0

    async def watch() -> None:
        nonlocal polls

        async def counted() -> Any:
            nonlocal polls
            async for backlogs in BacklogTrigger.open_shared_stream(trigger.serialize()[1]):
                polls += 1
                yield backlogs
                if polls == 20:
                    return

        async for _ in trigger.filter_shared_stream(counted()):
            pass

    asyncio.run(asyncio.wait_for(watch(), 60))

    assert polls == 20
    (text,) = receiver.of("waiting")
    assert f"waits for {pipeline.name}.predict" in text
    assert "alerts.waiting_s is 1" in text
