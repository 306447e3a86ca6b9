"""Runs that follow the data: the trigger and the sensor on the real broker."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowSensorTimeout, TaskDeferred

from include.definition.pipeline import Pipeline
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
    produce_batch(pipeline, records=100).execute(context_of(DagRun("d", "run-1")))
    produce(kafka, pipeline.predictions_topic, [Record()])
    recreate_topic(kafka, pipeline.requests_topic)
    produce(kafka, pipeline.requests_topic, [Record()])

    async def watch() -> Any:
        return await next_event(trigger(pipeline).run())

    assert "records that were published under an earlier ledger" in asyncio.run(watch())["error"]


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


def test_a_sensor_waits_in_the_triggerer(kafka: KafkaConnection, pipeline: Pipeline) -> None:
    sensor = BacklogSensor(task_id="wait", pipeline=pipeline.name, step="predict")
    context = context_of(DagRun("d", "run-1"))

    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute(context)
    produce(kafka, pipeline.requests_topic, [Record()])

    async def wait() -> Any:
        return await next_event(deferred.value.trigger.run())

    event = asyncio.run(wait())
    assert getattr(sensor, deferred.value.method_name)(context, event)["records"] == 1


def test_a_sensor_that_is_not_deferrable_keeps_its_worker(kafka: KafkaConnection, pipeline: Pipeline) -> None:
    arguments: dict[str, Any] = {"pipeline": pipeline.name, "step": "predict", "timeout": 0.1, "poke_interval": 0.01}
    sensor = BacklogSensor(task_id="wait", deferrable=False, **arguments)
    context = context_of(DagRun("d", "run-1"))

    with pytest.raises(AirflowSensorTimeout):
        sensor.execute(context)
    produce(kafka, pipeline.requests_topic, [Record()])
    assert sensor.execute(context)["records"] == 1
