"""Outcomes -> records: a prediction or a dead letter for every request that needs one, of a size its topic takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from include.kafka.dead_letters import dead_letter
from include.kafka.records import OutgoingRecord, address_of
from include.prediction.json_record import prediction_value
from include.reading.row_versions import State
from include.refusal import Refusal

if TYPE_CHECKING:
    from confluent_kafka import Message

    from include.definition.pipeline import Pipeline
    from include.exactly_once.transaction import TransactionalWriter
    from include.prediction.answer import Outcome
    from include.prediction.predictor import Predictor
    from include.targets.base import Answer


def outgoing_records(
    writer: TransactionalWriter,
    pipeline: Pipeline,
    predictor: Predictor,
    messages: Sequence[Message],
    ids: Sequence[bytes],
    outcomes: Sequence[Outcome],
    run: str,
) -> tuple[list[OutgoingRecord], list[Outcome]]:
    """One record for every message that needs an answer, and every outcome: what is too large is refused.

    Args:
        ids: the samples' ids, one for each message; the keys of the predictions.

    Raises:
        RecordTooLarge: the topic does not even take the explanation of a dead letter.
    """
    records: list[OutgoingRecord] = []
    published: list[Outcome] = []
    topic = pipeline.dead_letters_topic
    for message, key, outcome in zip(messages, ids, outcomes, strict=True):
        if isinstance(outcome, State):
            published.append(outcome)
            continue
        if not isinstance(outcome, Refusal):
            record = _prediction(pipeline, predictor, message, key, outcome)
            limit = writer.record_limit(record.topic)
            if record.size_bound <= limit:
                records.append(record)
                published.append(outcome)
                continue
            error = f"The prediction has {record.size_bound} bytes with its key and its topic takes {limit}."
            refusal = Refusal("oversize", error)
        else:
            refusal = outcome
        record, refusal = dead_letter(topic, message, refusal, run, largest=writer.record_limit(topic))
        writer.check_size(record)
        records.append(record)
        published.append(refusal)
    return records, published


def _prediction(
    pipeline: Pipeline, predictor: Predictor, message: Message, key: bytes, answer: Answer
) -> OutgoingRecord:
    address = address_of(message)
    # Bytes that are not UTF-8 are escaped, not replaced: two keys must not become one id.
    sample_id = key.decode("utf-8", "backslashreplace")
    value = prediction_value(sample_id, answer, predictor.identity, address, message.timestamp()[1])
    # Dated when it is sent: a request's own time may be one that Kafka refuses, or that retention removes at once.
    return OutgoingRecord(pipeline.predictions_topic, key, value, [predictor.identity.header])
