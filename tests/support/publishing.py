"""Requests for predictions, and the contents of the topics after a prediction step."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, Message, TopicPartition

from include.exactly_once.attempt import Attempt
from include.exactly_once.snapshot import snapshot_progress
from include.kafka.ranges import OffsetRange, freeze_ranges
from include.prediction.limits import PublishReport
from include.prediction.publish import STEP, publish_predictions
from tests.support.consumers import committed_records
from tests.support.producers import NOW_MS, Record, produce
from tests.support.tiny_pipelines import SCHEMA, numbers, sample_id

if TYPE_CHECKING:
    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection
    from include.prediction.predictor import Predictor
    from include.prediction.shadow import FindChallenger


def request(number: int, **changed: Any) -> Record:
    plain = Record(
        key=sample_id(number).encode(),
        value=numbers(number).tobytes(),
        headers=[("schema", SCHEMA)],
        timestamp_ms=NOW_MS + number,
    )
    return replace(plain, **changed)


def bad_request(number: int) -> Record:
    return request(number, value=b"123")


def ask(kafka: KafkaConnection, pipeline: Pipeline, *requests: Record, partition: int = 0) -> list[OffsetRange]:
    """Write requests; the frozen ranges of the topic."""
    produce(kafka, pipeline.requests_topic, requests, partition=partition)
    return freeze_ranges(kafka, pipeline.requests_topic)


def publish(
    kafka: KafkaConnection,
    pipeline: Pipeline,
    ranges: Sequence[OffsetRange],
    predictor: Predictor,
    *,
    run: str = "run-1",
    newest: Callable[[Predictor], Predictor] | None = None,
    challenger: FindChallenger | None = None,
    linger_s: float = 0.0,
    acknowledge: bool = False,
    **settings: Any,
) -> PublishReport:
    """Predict as one attempt; `settings` are those of the `Attempt`."""
    attempt = Attempt(kafka, pipeline.name, STEP, run, **settings)
    return publish_predictions(
        attempt,
        pipeline,
        ranges,
        predictor,
        newest=newest,
        challenger=challenger,
        linger_s=linger_s,
        acknowledge=acknowledge,
    )


def predictions(kafka: KafkaConnection, pipeline: Pipeline) -> list[dict[str, Any]]:
    return [json.loads(record.value() or b"") for record in committed_records(kafka, pipeline.predictions_topic)]


def predicted_ids(kafka: KafkaConnection, pipeline: Pipeline) -> list[str]:
    return sorted(prediction["id"] for prediction in predictions(kafka, pipeline))


def dead_letters(kafka: KafkaConnection, pipeline: Pipeline) -> list[Message]:
    return committed_records(kafka, pipeline.dead_letters_topic)


def headers_of(record: Message) -> dict[str, bytes | None]:
    return dict(record.headers() or [])  # type: ignore[arg-type]


def position_of(kafka: KafkaConnection, pipeline: Pipeline, item: OffsetRange) -> int | None:
    entry = snapshot_progress(kafka, pipeline.name, STEP, [item]).get(item.partition)
    return None if entry is None else entry["position"]


def group_offset(kafka: KafkaConnection, pipeline: Pipeline, partition: int = 0) -> int:
    consumer = Consumer({**kafka.settings, "group.id": f"local.{pipeline.name}.predict"})
    try:
        return consumer.committed([TopicPartition(pipeline.requests_topic, partition)], timeout=10)[0].offset
    finally:
        consumer.close()
