"""Runs that follow the data: the trigger and the sensor on the real broker."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.bases.operator import TRIGGER_FAIL_REPR, TriggerFailureReason
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout, AirflowSkipException, TaskDeferred

from include import backlogs
from include.definition.pipeline import Pipeline
from include.errors import PermanentError
from include.kafka.connection import KafkaConnection
from include.kafka.errors import AccessDenied
from millrace import triggers
from millrace.sensors import BacklogSensor
from millrace.triggers import BacklogTrigger
from tests.support.administrator import recreate_topic
from tests.support.operators import DagRun, context_of, ensure_topics, produce_batch
from tests.support.producers import Record, produce

if TYPE_CHECKING:
    from airflow.triggers.base import TriggerEvent

NewPipeline = Callable[..., Pipeline]
INTERVAL_S = 0.1  # seconds
WITHIN_S = 60


def trigger(pipeline: Pipeline, step: str = "predict", connection: str = "kafka_default") -> BacklogTrigger:
    return BacklogTrigger(pipeline=pipeline.name, step=step, kafka_conn_id=connection, interval=INTERVAL_S)


async def next_event(events: AsyncIterator[TriggerEvent]) -> Any:
    return (await asyncio.wait_for(anext(events), WITHIN_S)).payload


@pytest.fixture
def pipeline(kafka: KafkaConnection, new_pipeline: NewPipeline) -> Pipeline:
    pipeline = new_pipeline(partitions="2")
    ensure_topics(pipeline)
    return pipeline


def lose_backlog(kafka: KafkaConnection, pipeline: Pipeline) -> None:
    """Leave predictions of requests that are gone."""
    produce_batch(pipeline, records=100).execute(context_of(DagRun("d", "run-1")))
    produce(kafka, pipeline.predictions_topic, [Record()])
    recreate_topic(kafka, pipeline.requests_topic)
    produce(kafka, pipeline.requests_topic, [Record()])


def test_an_event_comes_when_records_come(kafka: KafkaConnection, pipeline: Pipeline) -> None:
    async def watch() -> Any:
        event = asyncio.ensure_future(next_event(trigger(pipeline).run()))
        await asyncio.sleep(5 * INTERVAL_S)
        assert not event.done(), "fired without a record"
        await asyncio.to_thread(produce, kafka, pipeline.requests_topic, [Record(), Record()], partition=1)
        return await event

    payload = asyncio.run(watch())

    assert payload["records"] >= 1
    assert payload["ends"] == {f"{pipeline.requests_topic}/0": 0, f"{pipeline.requests_topic}/1": 2}


def test_a_backlog_that_was_lost_makes_an_event_that_says_why(kafka: KafkaConnection, pipeline: Pipeline) -> None:
    """Its run fails, and a failed run is where people look."""
    lose_backlog(kafka, pipeline)

    async def watch() -> Any:
        return await next_event(trigger(pipeline).run())

    assert "records that were written under an earlier ledger" in asyncio.run(watch())["error"]


def test_a_broker_that_does_not_answer_delays_no_other_trigger(
    kafka: KafkaConnection, pipeline: Pipeline, new_pipeline: NewPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    produce(kafka, pipeline.requests_topic, [Record()])
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = {"bootstrap.servers": f"127.0.0.1:{silent.getsockname()[1]}"}
        monkeypatch.setenv("AIRFLOW_CONN_SILENT", json.dumps({"conn_type": "kafka", "extra": settings}))

        async def watch() -> Any:
            stalled = asyncio.ensure_future(next_event(trigger(pipeline, connection="silent").run()))
            await asyncio.sleep(0)
            payload = await next_event(trigger(pipeline).run())
            assert not stalled.done()
            stalled.cancel()
            return payload

        assert asyncio.run(watch())["records"] >= 1


def test_a_refused_login_is_repeated_less_and_less_often(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every two seconds would lock the account."""
    pauses: list[float] = []

    def refuse(*_: object) -> None:
        raise AccessDenied("The broker refused the login.")

    async def note(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 13:
            raise asyncio.CancelledError

    monkeypatch.setattr(triggers, "_poll", refuse)
    monkeypatch.setattr(triggers.asyncio, "sleep", note)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(next_event(trigger(pipeline).run()))

    assert pauses == [min(INTERVAL_S * 2**number, 300) for number in range(1, 14)]


def test_triggers_of_one_connection_share_a_poller(pipeline: Pipeline, new_pipeline: NewPipeline) -> None:
    other = new_pipeline()

    assert trigger(pipeline).shared_stream_key() == trigger(other, "train").shared_stream_key()
    assert trigger(pipeline).shared_stream_key() != trigger(other, connection="another").shared_stream_key()


def test_a_trigger_is_made_again_from_what_it_serializes(pipeline: Pipeline) -> None:
    path, arguments = trigger(pipeline).serialize()

    assert path == "millrace.triggers.BacklogTrigger"
    assert BacklogTrigger(**arguments).serialize() == (path, arguments)


def test_a_sensor_ends_at_once_when_enough_waits(kafka: KafkaConnection, pipeline: Pipeline) -> None:
    produce(kafka, pipeline.requests_topic, [Record()])
    sensor = BacklogSensor(task_id="wait", pipeline=pipeline.name, step="predict")

    assert sensor.execute(context_of(DagRun("d", "run-1")))["records"] == 1


def deferred(action: Callable[[], Any]) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as deferral:
        action()
    return deferral.value


def test_a_sensor_waits_in_the_triggerer(kafka: KafkaConnection, pipeline: Pipeline) -> None:
    sensor = BacklogSensor(task_id="wait", pipeline=pipeline.name, step="predict")
    context = context_of(DagRun("d", "run-1"))

    waiting = deferred(lambda: sensor.execute(context))
    produce(kafka, pipeline.requests_topic, [Record()])

    async def wait() -> Any:
        return await next_event(waiting.trigger.run())

    resumed = {**(waiting.kwargs or {}), "event": asyncio.run(wait())}
    assert sensor.resume_execution(waiting.method_name, resumed, context)["records"] == 1


@pytest.mark.parametrize(("soft_fail", "end"), [(False, AirflowSensorTimeout), (True, AirflowSkipException)])
def test_a_sensor_waits_in_the_triggerer_until_its_timeout(
    pipeline: Pipeline, soft_fail: bool, end: type[Exception]
) -> None:
    sensor = BacklogSensor(task_id="wait", pipeline=pipeline.name, step="predict", timeout=3600, soft_fail=soft_fail)
    context = context_of(DagRun("d", "run-1"))

    timeout = deferred(lambda: sensor.execute(context)).timeout

    assert timeout is not None
    assert timedelta(seconds=3500) < timeout <= timedelta(seconds=3600)
    # What the scheduler calls when this time is over.
    with pytest.raises(end):
        sensor.resume_execution(TRIGGER_FAIL_REPR, {"error": TriggerFailureReason.TRIGGER_TIMEOUT}, context)


def test_a_sensor_whose_fault_is_gone_waits_on_for_the_rest_of_its_time(
    kafka: KafkaConnection, pipeline: Pipeline
) -> None:
    sensor = BacklogSensor(task_id="wait", pipeline=pipeline.name, step="predict", timeout=3600)
    context = context_of(DagRun("d", "run-1"))
    first = deferred(lambda: sensor.execute(context))

    def resume() -> Any:
        return sensor.resume_execution("resume", {**(first.kwargs or {}), "event": {"error": "a fault"}}, context)

    again = deferred(resume)

    assert (again.method_name, again.kwargs) == (first.method_name, first.kwargs)
    assert again.timeout is not None
    assert first.timeout is not None
    assert again.timeout < first.timeout
    assert again.trigger.serialize()[1]["fault_pause"] == sensor.poke_interval
    produce(kafka, pipeline.requests_topic, [Record()])
    assert resume()["records"] == 1


def test_a_sensor_whose_fault_remains_fails_with_it(kafka: KafkaConnection, pipeline: Pipeline) -> None:
    sensor = BacklogSensor(task_id="wait", pipeline=pipeline.name, step="predict")
    lose_backlog(kafka, pipeline)

    with pytest.raises(AirflowFailException, match="under an earlier ledger"):
        sensor.resume(context_of(DagRun("d", "run-1")), {"error": "a fault"})


@pytest.mark.parametrize(("fault_pause", "events"), [(0, ["a fault", None]), (3600, [None])])
def test_a_fault_is_no_event_during_the_pause(
    kafka: KafkaConnection, pipeline: Pipeline, fault_pause: float, events: list[str | None]
) -> None:
    """Where only the triggerer sees it, a sensor would go from it to a worker and back, again and again."""
    produce(kafka, pipeline.requests_topic, [Record()])
    key, fault = (pipeline.name, "predict"), PermanentError("a fault")
    waiting = backlogs.waiting(kafka, pipeline, "predict")
    arguments = {**trigger(pipeline).serialize()[1], "fault_pause": fault_pause}

    async def polls() -> AsyncIterator[Any]:
        yield {key: fault}
        yield {key: waiting}

    async def watch() -> list[str | None]:
        found = BacklogTrigger(**arguments).filter_shared_stream(polls())
        return [event.payload.get("error") async for event in found]

    assert asyncio.run(watch()) == events


def test_a_sensor_that_is_not_deferrable_keeps_its_worker(kafka: KafkaConnection, pipeline: Pipeline) -> None:
    arguments: dict[str, Any] = {"pipeline": pipeline.name, "step": "predict", "timeout": 0.1, "poke_interval": 0.01}
    sensor = BacklogSensor(task_id="wait", deferrable=False, **arguments)
    context = context_of(DagRun("d", "run-1"))

    with pytest.raises(AirflowSensorTimeout):
        sensor.execute(context)
    produce(kafka, pipeline.requests_topic, [Record()])
    assert sensor.execute(context)["records"] == 1
