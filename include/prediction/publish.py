"""Publish predictions exactly once: results, dead letters, ledger and offsets in one transaction a chunk."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from include.errors import Stopped
from include.exactly_once import ledger
from include.exactly_once.progress import position_in, progress_entry, progress_key, refuse_truncated
from include.exactly_once.transaction import TransactionalWriter
from include.kafka.position import UNKNOWN_EPOCH
from include.kafka.ranges import OffsetRange, check_ranges
from include.metrics import Counters, NoMetrics
from include.prediction import hold
from include.prediction.answer import answer
from include.prediction.chunks import READ_AHEAD, RequestChunk, read_chunks
from include.prediction.limits import PublishReport, TooManyRejected, check_limits
from include.prediction.outgoing import outgoing_records
from include.reading.records import RecordReader, record_reader

if TYPE_CHECKING:
    from include.definition.pipeline import Pipeline
    from include.exactly_once.ledger import LedgerKey
    from include.kafka.connection import KafkaConnection
    from include.kafka.records import OutgoingRecord
    from include.metrics import Metrics
    from include.prediction.predictor import Predictor
    from include.refusal import Refusal
    from include.targets.base import Answer

log = logging.getLogger(__name__)

STEP = "predict"
# Kept with a partition's position: a row that is too long is found however many attempts and runs it goes through.
IN_A_ROW = "rejected_in_a_row"

ACKNOWLEDGED = "The hold is acknowledged: this run's limits are off."
NOTHING_TO_ACKNOWLEDGE = "There is no hold to acknowledge: the limits stay on."


@dataclass
class _Attempt:
    """What all partitions of one attempt have in common, and what it has done so far."""

    connection: KafkaConnection
    pipeline: Pipeline
    predictor: Predictor
    run: str
    accept_lost: bool
    acknowledge: bool
    stopped: Callable[[], bool]
    reader: RecordReader
    published: PublishReport
    said: bool = False

    @property
    def step(self) -> str:
        return f"{self.connection.environment}.{self.pipeline.name}.{STEP}"

    def say(self, sentence: str) -> None:
        """Log it, but not for every partition."""
        if not self.said:
            log.warning("%s", sentence)
        self.said = True


def publish_predictions(
    connection: KafkaConnection,
    pipeline: Pipeline,
    ranges: Sequence[OffsetRange],
    predictor: Predictor,
    *,
    run: str,
    accept_lost: bool = False,
    acknowledge: bool = False,
    stopped: Callable[[], bool] = lambda: False,
    metrics: Metrics | None = None,
) -> PublishReport:
    """Predict what is left of the ranges, partition by partition, and publish it.

    The ledger says what is left: a range that an earlier attempt has done is passed over, whoever made that attempt.

    Args:
        ranges: frozen ranges of the requests topic.
        run: the run's id, kept with dead letters and ledger entries.
        accept_lost: go on though retention has removed requests that were never predicted.
        acknowledge: take the hold back, and publish what stopped the step without limits; see include.prediction.hold.
        stopped: looked at between chunks, and before each commit.

    Raises:
        InvalidSigningKeys: records are signed and there is no key to verify them with.
        NoRegistry, RegistryAway, RegistryRefused: see include.kafka.schema_registry; the chunk was not published.
        TooManyRejected: a limit of `[prediction]` was met; the chunk that met it was not published, and the step is
            held.
        Held: it was before, and nothing was published.
        NetworkFailed: see include.prediction.forward.
        TopicRecreated, RangeUnavailable, LogTruncated, ReaderStalled, Fenced, TransactionFailed: see include.kafka.
    """
    keys = connection.signing_keys(signed=pipeline.signed)
    reading, schema = pipeline.record_layout(pipeline.requests_topic), pipeline.format.schema_name
    published = PublishReport()
    try:
        with record_reader(connection, reading, schema, keys=keys, labelled=False) as reader:
            attempt = _Attempt(
                connection, pipeline, predictor, run, accept_lost, acknowledge, stopped, reader, published
            )
            _fence(attempt, ranges)
            for wanted in ranges:
                _publish_partition(attempt, wanted, last=wanted is ranges[-1])
                log.info("Partition %d is predicted to offset %d; so far %s.", wanted.partition, wanted.end, published)
    finally:
        log.info("This attempt published: %s.", published)
        metrics = metrics or NoMetrics()
        metrics.count(Counters.PREDICTIONS, published.predictions, pipeline=pipeline.name)
        metrics.count(Counters.DEAD_LETTERS, published.rejected, pipeline=pipeline.name)
    return published


def _writer(attempt: _Attempt, wanted: OffsetRange, *topics: str) -> TransactionalWriter:
    transactional_id = f"{attempt.step}.{wanted.topic}.{wanted.partition}"
    return TransactionalWriter(attempt.connection, transactional_id, topics=topics, stopped=attempt.stopped)


def _fence(attempt: _Attempt, ranges: Sequence[OffsetRange]) -> None:
    """Fence the earlier owners of all partitions before the ledger is read for the first.

    What a killed attempt has left open in one partition hides the ledger from whoever reads it for another, and would
    do so until the broker gives it up after a minute.
    """
    for wanted in ranges[1:]:
        with _writer(attempt, wanted):
            pass


def _publish_partition(attempt: _Attempt, wanted: OffsetRange, *, last: bool) -> None:
    connection, pipeline, run = attempt.connection, attempt.pipeline, attempt.run
    key = progress_key(connection, pipeline.name, STEP, wanted)
    hold_key = hold.hold_key(connection, pipeline.name, STEP)
    with _writer(attempt, wanted, pipeline.predictions_topic, pipeline.dead_letters_topic) as writer:
        # Only now, with every earlier owner fenced, is its last position decided.
        entries = ledger.read(connection, [key, hold_key])
        entry, held = entries.get(key, {}), entries.get(hold_key)
        unlimited = hold.limits_are_off(held, pipeline.name, run, acknowledge=attempt.acknowledge)
        if attempt.acknowledge:
            attempt.say(ACKNOWLEDGED if unlimited else NOTHING_TO_ACKNOWLEDGE)
        # The hold is taken back with the first chunk: a run that fails before leaves it where it is.
        notes = {hold_key: hold.acknowledged(held, run)} if held and unlimited else {}
        left = _left(attempt, wanted, entry)
        if not left.offsets:
            if notes and last:
                with writer.transaction():
                    _note(writer, notes)
            return
        in_a_row = 0 if unlimited else entry.get(IN_A_ROW, 0)
        # It says nothing of a start that lies further on, behind what retention removed.
        known = left.start == entry.get("position")
        leader_epoch = entry.get("leader_epoch", UNKNOWN_EPOCH) if known else UNKNOWN_EPOCH
        with connection.consumer(attempt.step, **READ_AHEAD) as consumer:
            for chunk in read_chunks(connection, consumer, left, pipeline, leader_epoch):
                records, outcomes = _predict(attempt, writer, chunk)
                if not unlimited:
                    try:
                        in_a_row = check_limits(pipeline, attempt.published, in_a_row, outcomes)
                    except TooManyRejected as refusal:
                        refused = replace(left, start=chunk.start, end=chunk.end)
                        with writer.transaction():
                            _note(writer, {hold_key: hold.hold_entry(refusal, refused, run)})
                        raise
                progress = progress_entry(left, chunk.end, run, leader_epoch=chunk.leader_epoch)
                notes[key] = {**progress, IN_A_ROW: in_a_row}
                with writer.transaction():
                    for record in records:
                        writer.produce(record)
                    _note(writer, notes)
                    writer.send_offsets(consumer, _group_offset(left, chunk.end))
                notes.clear()
                attempt.published.add(outcomes)


def _left(attempt: _Attempt, wanted: OffsetRange, entry: Mapping[str, Any]) -> OffsetRange:
    """What the ledger's entry, where there is one, leaves of the range."""
    left = wanted
    if entry:
        left = replace(wanted, start=position_in(wanted, entry, accept_lost=attempt.accept_lost))
        refuse_truncated(attempt.connection, wanted, entry)
    if left.offsets:
        check_ranges(attempt.connection, [left])
    return left


def _predict(
    attempt: _Attempt, writer: TransactionalWriter, chunk: RequestChunk
) -> tuple[list[OutgoingRecord], list[Answer | Refusal]]:
    """What to publish for a chunk, and the outcomes that it tells."""
    if attempt.stopped():
        raise Stopped(
            f"Stopped after {attempt.published.samples} samples, before offset {chunk.start} of a partition of "
            f"{attempt.pipeline.requests_topic}; the next attempt goes on from there."
        )
    predictor = attempt.predictor
    records = attempt.reader.read(chunk.messages)
    outcomes = answer(predictor.network, attempt.pipeline.format, predictor.target, records)
    return outgoing_records(writer, attempt.pipeline, predictor, chunk.messages, records.ids, outcomes, attempt.run)


def _note(writer: TransactionalWriter, notes: Mapping[LedgerKey, Mapping[str, Any]]) -> None:
    for key, entry in notes.items():
        ledger.record(writer, key, entry)


def _group_offset(left: OffsetRange, position: int) -> list[Any]:
    from confluent_kafka import TopicPartition

    return [TopicPartition(left.topic, left.partition, position)]
