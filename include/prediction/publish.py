"""Publish predictions exactly once: results, dead letters, ledger and offsets in one transaction a chunk."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING, Any

from include.errors import PermanentError, Stopped
from include.kafka import ledger
from include.kafka.dead_letters import OVERSIZE, Rejection, dead_letter
from include.kafka.progress import position_in, progress_entry, progress_key
from include.kafka.ranges import OffsetRange, check_ranges
from include.kafka.reader import read_range
from include.kafka.record import OutgoingRecord, address_of, headers_of, headers_size
from include.kafka.signing import signing_keys
from include.kafka.transaction import TransactionalWriter
from include.metrics import NoMetrics
from include.prediction.classify import Label, classify
from include.prediction.record import prediction_value

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message

    from include.kafka.connection import KafkaConnection
    from include.metrics import Metrics
    from include.pipeline import Pipeline
    from include.prediction.predictor import Predictor

log = logging.getLogger(__name__)

STEP = "predict"
# A share says nothing about a handful of samples.
SHARE_COUNTS_FROM = 100
# A chunk's samples as float32, however small they are as records.
DECODED_BYTES = 256 * 1024 * 1024
# Few records: librdkafka does not count headers in the bytes that it fetches ahead, and of records with a megabyte of
# headers each it would by default take a hundred thousand.
READ_AHEAD = {"queued.min.messages": 100}
READ_RECORDS = 50


class TooManyRejected(PermanentError):
    """So much of the input can't be used that a person should look before it all becomes dead letters."""


@dataclass
class Published:
    """What one attempt did, in samples: `samples` = `predictions` + the dead letters."""

    samples: int = 0
    predictions: int = 0
    dead_letters: Counter[str] = field(default_factory=Counter)
    rejected_in_a_row: int = 0

    @property
    def rejected(self) -> int:
        return self.dead_letters.total()


def publish_predictions(
    connection: KafkaConnection,
    pipeline: Pipeline,
    ranges: Sequence[OffsetRange],
    predictor: Predictor,
    *,
    run: str,
    accept_lost: bool = False,
    stopped: Callable[[], bool] = lambda: False,
    metrics: Metrics | None = None,
) -> Published:
    """Predict what is left of the ranges, partition by partition, and publish it.

    The ledger says what is left: a range that an earlier attempt has done is passed over, whoever made that attempt.

    Args:
        ranges: frozen ranges of the requests topic.
        run: the run's id, kept with dead letters and ledger entries.
        accept_lost: go on though retention has removed requests that were never predicted.
        stopped: looked at between chunks.

    Raises:
        InvalidSigningKeys: records are signed and there is no key to verify them with.
        TooManyRejected: a limit of `[prediction]` was met; the chunk that met it was not published.
        TopicRecreated, RangeUnavailable, ReaderStalled, Fenced, TransactionFailed: see include.kafka.
    """
    published = Published()
    for wanted in ranges:
        _publish_partition(connection, pipeline, wanted, predictor, run, accept_lost, stopped, published)
        log.info(
            "Partition %d is predicted to offset %d: %d samples in, %d predictions, %d dead letters so far.",
            wanted.partition,
            wanted.end,
            published.samples,
            published.predictions,
            published.rejected,
        )
    metrics = metrics or NoMetrics()
    metrics.count(f"{pipeline.name}.predictions", published.predictions)
    metrics.count(f"{pipeline.name}.dead_letters", published.rejected)
    return published


def _publish_partition(
    connection: KafkaConnection,
    pipeline: Pipeline,
    wanted: OffsetRange,
    predictor: Predictor,
    run: str,
    accept_lost: bool,
    stopped: Callable[[], bool],
    published: Published,
) -> None:
    key = progress_key(connection, pipeline.name, STEP, wanted)
    keys = signing_keys(connection, signed=pipeline.signed)
    transactional_id = f"{connection.environment}.{pipeline.name}.{STEP}.{wanted.topic}.{wanted.partition}"
    topics = (pipeline.predictions_topic, pipeline.dead_letters_topic)
    with TransactionalWriter(connection, transactional_id, topics=topics) as writer:
        # Only now, with every earlier owner fenced, is its last position decided.
        entry = ledger.read(connection, [key]).get(key)
        left = wanted if entry is None else replace(wanted, start=position_in(wanted, entry, accept_lost=accept_lost))
        if not left.offsets:
            return
        check_ranges(connection, [left])
        with connection.consumer(f"{connection.environment}.{pipeline.name}.{STEP}", **READ_AHEAD) as consumer:
            for messages, position in _chunks(connection, consumer, left, pipeline):
                if stopped():
                    raise Stopped(
                        f"Stopped after {published.samples} samples in partition {left.partition} of {left.topic}; the "
                        "next attempt goes on from there."
                    )
                outcomes = classify(predictor.network, pipeline.format, predictor.labels, messages, keys)
                records = _records(writer, pipeline, predictor, messages, outcomes, run)
                _check_limits(pipeline, published, outcomes, messages)
                with writer.transaction():
                    for record in records:
                        writer.produce(record)
                    ledger.record(writer, key, progress_entry(left, position, run))
                    writer.send_offsets(consumer, _group_offset(left, position))
                published.samples += len(messages)
                rejections = [outcome.reason for outcome in outcomes if isinstance(outcome, Rejection)]
                published.dead_letters.update(rejections)
                published.predictions += len(messages) - len(rejections)


def _chunks(
    connection: KafkaConnection, consumer: Consumer, left: OffsetRange, pipeline: Pipeline
) -> Iterator[tuple[list[Message], int]]:
    """Chunks of records with the position behind each; the last one's is the range's end, markers included."""
    limits = pipeline.prediction
    samples = max(1, min(limits.chunk_samples, DECODED_BYTES // (4 * prod(pipeline.format.sample_shape))))
    chunk: list[Message] = []
    size = 0
    for messages in read_range(connection, consumer, left, batch_size=min(samples, READ_RECORDS)):
        for message, headers in zip(messages, headers_of(messages), strict=True):
            taken = len(message) + len(message.key() or b"") + headers_size(headers)
            if chunk and (len(chunk) >= samples or size + taken > limits.chunk_bytes):
                yield chunk, int(message.offset() or 0)
                chunk, size = [], 0
            chunk.append(message)
            size += taken
    yield chunk, left.end


def _check_limits(
    pipeline: Pipeline, published: Published, outcomes: list[Label | Rejection], messages: list[Message]
) -> None:
    limits = pipeline.prediction
    samples, rejected = published.samples, published.rejected
    reasons = Counter(published.dead_letters)
    for outcome, message in zip(outcomes, messages, strict=True):
        samples += 1
        if isinstance(outcome, Label):
            published.rejected_in_a_row = 0
            continue
        rejected += 1
        reasons[outcome.reason] += 1
        published.rejected_in_a_row += 1
        leading = f"most often {reasons.most_common(1)[0][0]}, last: {outcome.error}"
        if published.rejected_in_a_row > limits.max_rejected_in_a_row:
            raise TooManyRejected(
                f"{published.rejected_in_a_row} records in a row of {message.topic()} are no samples, more than "
                f"{limits.max_rejected_in_a_row} ({leading}): correct the producer or raise "
                "prediction.max_rejected_in_a_row; nothing of this chunk was published."
            )
    if samples >= SHARE_COUNTS_FROM and rejected > limits.max_rejected_share * samples:
        raise TooManyRejected(
            f"{rejected} of {samples} records are no samples, a larger share than {limits.max_rejected_share:g} "
            f"(most often {reasons.most_common(1)[0][0]}): correct the producer or raise "
            "prediction.max_rejected_share; nothing of this chunk was published."
        )


def _records(
    writer: TransactionalWriter,
    pipeline: Pipeline,
    predictor: Predictor,
    messages: list[Message],
    outcomes: list[Label | Rejection],
    run: str,
) -> list[OutgoingRecord]:
    """What to produce for a chunk: one record for every message, each of a size that its topic takes."""
    records: list[OutgoingRecord] = []
    topic = pipeline.dead_letters_topic
    for position, (message, outcome) in enumerate(zip(messages, outcomes, strict=True)):
        if isinstance(outcome, Label):
            record = _prediction(pipeline, predictor, message, outcome)
            limit = writer.record_limit(record.topic)
            if record.size_bound <= limit:
                records.append(record)
                continue
            error = f"The prediction has {record.size_bound} bytes with its key and its topic takes {limit}."
            rejection = Rejection(OVERSIZE, error)
        else:
            rejection = outcome
        record, outcomes[position] = dead_letter(topic, message, rejection, run, largest=writer.record_limit(topic))
        writer.check_size(record)
        records.append(record)
    return records


def _prediction(pipeline: Pipeline, predictor: Predictor, message: Message, label: Label) -> OutgoingRecord:
    address = address_of(message)
    key = message.key() or str(address).encode()
    # Bytes that are no text are told, not replaced: two keys must not become one id.
    sample_id = key.decode("utf-8", "backslashreplace")
    value = prediction_value(sample_id, label.name, label.score, predictor.identity, address, message.timestamp()[1])
    # Dated when it is sent: a request's own time may be one that Kafka refuses, or that retention removes at once.
    return OutgoingRecord(pipeline.predictions_topic, key, value, [predictor.identity.header])


def _group_offset(left: OffsetRange, position: int) -> list[Any]:
    from confluent_kafka import TopicPartition

    return [TopicPartition(left.topic, left.partition, position)]
