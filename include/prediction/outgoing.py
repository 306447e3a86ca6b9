"""Outcomes -> records: a prediction or a dead letter for every request that needs one, of a size its topic takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from include.kafka.dead_letters import dead_letter
from include.kafka.headers import headers_of
from include.kafka.records import OutgoingRecord, address_of
from include.prediction.json_record import prediction_value
from include.reading.row_versions import RowState
from include.refusal import Refusal

CLOUD_EVENT_TYPE = "millrace.prediction"

if TYPE_CHECKING:
    from confluent_kafka import Message

    from include.definition.pipeline import Pipeline
    from include.exactly_once.transaction import TransactionalWriter
    from include.kafka.records import Address
    from include.prediction.answer import RequestOutcome
    from include.prediction.json_record import ModelIdentity
    from include.prediction.predictor import Predictor
    from include.targets.base import Answer


def outgoing_records(
    writer: TransactionalWriter,
    pipeline: Pipeline,
    predictor: Predictor,
    messages: Sequence[Message],
    ids: Sequence[bytes],
    outcomes: Sequence[RequestOutcome],
    run: str,
) -> tuple[list[OutgoingRecord], list[RequestOutcome]]:
    """One record for every message that needs an answer, and every outcome: what is too large is refused.

    Args:
        ids: the samples' ids, one for each message; the keys of the predictions.

    Raises:
        RecordTooLarge: the topic does not even take the explanation of a dead letter.
    """
    records: list[OutgoingRecord] = []
    published: list[RequestOutcome] = []
    topic = pipeline.dead_letters_topic
    for message, key, outcome in zip(messages, ids, outcomes, strict=True):
        if isinstance(outcome, RowState):
            published.append(outcome)
            continue
        if not isinstance(outcome, Refusal):
            record = prediction_record(pipeline.predictions_topic, predictor, message, key, outcome, pipeline)
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


def prediction_record(
    topic: str, predictor: Predictor, message: Message, key: bytes, answer: Answer, pipeline: Pipeline
) -> OutgoingRecord:
    """The answer to a request.

    Args:
        key: the sample's id.
        pipeline: says which of the request's headers the answer has too, and whether it is a CloudEvent.
    """
    carry, address, identity = pipeline.prediction.carry, address_of(message), predictor.identity
    headers: list[tuple[str, bytes | None]] = [identity.header]
    if pipeline.prediction.cloud_events:
        headers += cloud_event_headers(pipeline, identity, address)
    if carry:
        headers += (header for header in headers_of([message])[0] if header[0] in carry)
    # Bytes that are not UTF-8 are escaped, not replaced: two keys must not become one id.
    sample_id = key.decode("utf-8", "backslashreplace")
    value = prediction_value(sample_id, answer, identity, address, message.timestamp()[1])
    # Dated when it is sent: a request's own time may be one that Kafka refuses, or that retention removes at once.
    return OutgoingRecord(topic, key, value, headers)


def cloud_event_headers(pipeline: Pipeline, model: ModelIdentity, address: Address) -> list[tuple[str, bytes]]:
    """The attributes of a CloudEvent 1.0 whose data is the record's value, in the binary mode of its Kafka binding.

    The id is the same whenever the same version answers the same request. There is no time, which would differ; the
    record has it.
    """
    attributes = {
        "ce_specversion": "1.0",
        "ce_type": CLOUD_EVENT_TYPE,
        "ce_source": f"/millrace/{pipeline.environment}/{pipeline.name}",
        "ce_id": f"{address}/{model.version}",
        "content-type": "application/json",
    }
    return [(name, text.encode()) for name, text in attributes.items()]
