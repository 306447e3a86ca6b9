"""Trace one prediction: its request, the model version with its training ranges, and whether it predicts the same."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from include.artifact.card import ModelCard, WrongModel, read_card
from include.definition.pipeline import Pipeline
from include.errors import PermanentError
from include.kafka.connection import KafkaConnection
from include.kafka.ranges import freeze_ranges
from include.kafka.reader import read_range
from include.kafka.records import Address
from include.prediction.answer import FORWARD_SAMPLES, answer_requests
from include.prediction.chunks import request_reader
from include.prediction.outgoing import prediction_records
from include.prediction.predictor import load_predictor
from include.prediction.read import ROWS, PredictionRow, PublishedRow
from include.prediction.requests import MessageRequests
from include.refusal import Refusal
from include.registry.tracking import open_registry
from include.registry.versions import download, version

if TYPE_CHECKING:
    from confluent_kafka import Message

# Outputs depend on the size of a batch, which no record has: alone, not alone, and a full one.
BATCHES = (1, 2, FORWARD_SAMPLES)
# Long enough to find what was committed a moment ago.
SETTLE_S = 1.0


class NoSuchRecord(PermanentError):
    """No committed record, or another one, is at an address."""


class NoPrediction(PermanentError):
    """The record is no prediction of the pipeline."""


@dataclass(frozen=True)
class Trace:
    """Where a prediction comes from.

    Attributes:
        record: the prediction, as it was published.
        row: its fields.
        request: its request; None where that is not there any more.
        card: of the version that has predicted; None where that is not there any more.
        again: the value that the version predicts now; None where it can't.
        missing: why something is None, a sentence each.
    """

    record: Message
    row: PublishedRow
    request: Message | None
    card: ModelCard | None
    again: bytes | None
    missing: tuple[str, ...]

    @property
    def same(self) -> bool | None:
        """Whether the version predicts the same bits now; None where that can't be tried."""
        return None if self.again is None else self.again == self.record.value()

    @property
    def changes(self) -> dict[str, tuple[Any, Any]]:
        """By name the fields that differ, as published and as predicted now."""
        if self.again is None:
            return {}
        before, now = (json.loads(value or b"") for value in (self.record.value(), self.again))
        return {
            name: (before.get(name), now.get(name)) for name in {**before, **now} if before.get(name) != now.get(name)
        }


def trace(connection: KafkaConnection, pipeline: Pipeline, place: Address, group: str) -> Trace:
    """Find the request and the version of a prediction, and predict the request again with that version.

    What retention or a person has removed is missing from the trace, and ends nothing.

    Args:
        connection: with the pipeline's signing keys and Schema Registry, if it has them.
        place: of a record in the topic of the predictions, or of what was predicted again.
        group: of the consumers.

    Raises:
        NoSuchRecord: no committed record is there.
        NoPrediction: it is no prediction of the pipeline.
        RegistryUnavailable: MLflow does not answer.
        TopicMissing, ReaderStalled: see include.kafka.
    """
    record = _record(connection, place, group)
    try:
        row = ROWS[pipeline.training.task].model_validate_json(record.value() or b"")
    except ValidationError as error:
        fault = error.errors()[0]
        raise NoPrediction(
            f"The record {place} is no prediction ({'.'.join(map(str, fault['loc']))}: {fault['msg']}): another "
            "program wrote it, so choose another one."
        ) from error
    if (row.model, row.topic) != (pipeline.name, pipeline.requests_topic):
        raise NoPrediction(
            f"The record {place} is a prediction of model {row.model!r:.100} for topic {row.topic!r:.100}, and not of "
            f"{pipeline.name} for {pipeline.requests_topic}: restore the pipeline's [topics], or choose another one."
        )
    missing: list[str] = []
    request, card, again = None, None, None
    try:
        request = _record(connection, Address(row.topic, row.partition, row.offset), group)
    except PermanentError as error:
        missing.append(str(error))
    try:
        card = _card(pipeline, row)
        if request is not None:
            again = _predict(connection, pipeline, record, row, request)
    except PermanentError as error:
        missing.append(str(error))
    return Trace(record, row, request, card, again, tuple(missing))


def _record(connection: KafkaConnection, place: Address, group: str) -> Message:
    ranges = freeze_ranges(connection, place.topic, settle_s=SETTLE_S)
    found = next((item for item in ranges if item.partition == place.partition), None)
    if found is None:
        raise NoSuchRecord(
            f"Topic {place.topic} has {len(ranges)} partitions, and none of number {place.partition}: correct the "
            "address."
        )
    if found.start <= place.offset < found.end:
        one = replace(found, start=place.offset, end=place.offset + 1)
        with connection.consumer(group) as consumer:
            for messages in read_range(connection, consumer, one):
                return messages[0]
    why = (
        "retention has removed what was before"
        if place.offset < found.start
        else "a transaction's marker or an aborted record is there"
        if place.offset < found.end
        else "nothing was written there yet"
    )
    raise NoSuchRecord(
        f"There is no committed record {place}: its partition has [{found.start}, {found.end}), and {why}."
    )


def _card(pipeline: Pipeline, row: PublishedRow) -> ModelCard:
    registry = open_registry()
    found = version(registry, pipeline.name, row.version)
    if found.digest != row.digest:
        raise WrongModel(
            f"The prediction was made with digest {row.digest[:12]}… and version {row.version} of {pipeline.name} has "
            f"{found.digest[:12]}… in MLflow: its database is another one than at that time, so restore that one."
        )
    return read_card(download(registry, found))


def _predict(
    connection: KafkaConnection, pipeline: Pipeline, record: Message, row: PublishedRow, request: Message
) -> bytes:
    """The value for the request by the version of the row, by the size of batch that gives the row's own, if any does.

    Raises:
        NoSuchRecord: another request than the row's is at its address.
        NoPrediction: the request is no sample to the pipeline as it is now.
        WrongModel, WrongFormat, UntrustedModel: see `load_predictor`.
    """
    predictor = load_predictor(connection, pipeline, str(row.version))
    # As it was answered, whatever the pipeline asks for now.
    top_k = len(row.top or ()) if isinstance(row, PredictionRow) else 0
    asked = pipeline.prediction.model_copy(update={"top_k": top_k})
    pipeline = pipeline.model_copy(update={"prediction": asked})
    values: list[bytes] = []
    with request_reader(connection, pipeline) as reader:
        for size in BATCHES:
            requests = MessageRequests(row.topic, row.partition, [request] * size)
            answered = answer_requests(pipeline, predictor, reader, requests, None)
            key, outcome, time = answered.ids[0], answered.outcomes[0], request.timestamp()[1]
            if key != record.key() or (time if time >= 0 else None) != row.timestamp:
                raise NoSuchRecord(
                    f"The record {row.topic}/{row.partition}/{row.offset} is not the request: its id is {key!r:.100} "
                    f"and the prediction's {record.key()!r:.100}, or its time is another, so the topic was deleted and "
                    "created again."
                )
            if not isinstance(outcome, dict):
                refused = f" ({outcome})" if isinstance(outcome, Refusal) else ""
                raise NoPrediction(
                    f"The request {row.topic}/{row.partition}/{row.offset} can't be predicted any more{refused}: "
                    f"restore the pipeline's [format], [envelope] and [signing] of that time."
                )
            records = prediction_records("", predictor, requests, answered.ids[:1], answered.outcomes[:1], pipeline)
            values.append(records[0].value or b"")
            if values[-1] == record.value():
                break
    return values[-1] if values[-1] == record.value() else values[0]
