"""Publish predictions exactly once: results, dead letters, ledger and offsets in one transaction a chunk."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from include.exactly_once.attempt import WRITERS_AT_ONCE, Attempt, Step, windows
from include.exactly_once.progress import position_in, progress_entry, progress_scope, refuse_truncated
from include.exactly_once.transaction import TransactionalWriter
from include.kafka.position import UNKNOWN_EPOCH
from include.kafka.ranges import OffsetRange, TopicState, check_range, topic_state
from include.kafka.reader import FEW_RECORDS_AHEAD
from include.metrics import Counters
from include.prediction import hold
from include.prediction.answer import Outcome, answer
from include.prediction.chunks import RequestChunk, read_chunks
from include.prediction.limits import PublishReport, TooManyRejected, check_limits
from include.prediction.outgoing import outgoing_records
from include.reading.records import RecordReader, record_reader
from include.reading.row_versions import RowVersions, read_row_versions

if TYPE_CHECKING:
    from confluent_kafka import Consumer, TopicPartition

    from include.definition.pipeline import Pipeline
    from include.exactly_once.ledger import LedgerKey
    from include.kafka.records import OutgoingRecord
    from include.prediction.predictor import Predictor

log = logging.getLogger(__name__)

STEP: Step = "predict"
# Kept with a partition's position, so that rejections in a row are counted across attempts and runs.
IN_A_ROW = "rejected_in_a_row"
# How long a reading of ledger and topic stays valid: many small partitions share one, and between large ones it is
# repeated, to notice another task's hold or a recreated topic.
STATE_VALID_S = 5.0

ACKNOWLEDGED = "The hold is acknowledged: this run's limits are off."
NOTHING_TO_ACKNOWLEDGE = "There is no hold to acknowledge: the limits stay on."


@dataclass
class _Publisher:
    """What all partitions of one attempt have in common, and what it has published so far."""

    attempt: Attempt
    pipeline: Pipeline
    predictor: Predictor
    acknowledge: bool
    reader: RecordReader
    consumer: Consumer
    published: PublishReport
    logged: bool = False

    def log_once(self, sentence: str) -> None:
        """Log what holds for all partitions."""
        if not self.logged:
            log.warning("%s", sentence)
        self.logged = True


@dataclass(frozen=True)
class _State:
    """The ledger and the requests topic as they were at a time of the monotonic clock, in seconds."""

    entries: Mapping[LedgerKey, Mapping[str, Any]]
    topic: TopicState
    read_at: float


def publish_predictions(
    attempt: Attempt,
    pipeline: Pipeline,
    ranges: Sequence[OffsetRange],
    predictor: Predictor,
    *,
    acknowledge: bool = False,
) -> PublishReport:
    """Predict the part of the ranges that is not predicted yet, partition by partition, and publish it.

    The ledger has the position of each partition, whichever attempt of whichever run has written it.

    Args:
        ranges: frozen ranges of the requests topic.
        acknowledge: end the hold, and publish what stopped the step without limits; see include.prediction.hold.

    Raises:
        InvalidSigningKeys: records are signed and there is no key to verify them with.
        NoRegistry, RegistryAway, RegistryRefused: see include.kafka.schema_registry; the chunk was not published.
        TooManyRejected: a limit of `[prediction]` was met; the chunk that met it was not published, and the step is
            held.
        StepHeld: the step was held before, and nothing was published.
        NetworkFailed: see include.prediction.forward.
        TopicRecreated, RangeUnavailable, LogTruncated, ReaderStalled, Fenced, TransactionFailed: see include.kafka.
    """
    attempt.require(pipeline.name, STEP)
    keys = attempt.connection.signing_keys(signed=pipeline.signed)
    layout, schema = pipeline.record_layout(pipeline.requests_topic), pipeline.format.schema_name
    published = PublishReport()
    try:
        with (
            record_reader(attempt.connection, layout, schema, keys=keys, labelled=False) as reader,
            attempt.consumer(**FEW_RECORDS_AHEAD) as consumer,
        ):
            publisher = _Publisher(attempt, pipeline, predictor, acknowledge, reader, consumer, published)
            # Opening the writers of the first window fences the others.
            attempt.fence(_scopes(ranges[WRITERS_AT_ONCE:]))
            for window in windows(ranges):
                _publish_window(publisher, window, last=window[-1] is ranges[-1])
    finally:
        log.info("This attempt published: %s.", published)
        attempt.metrics.count(Counters.PREDICTIONS, published.predictions, pipeline=pipeline.name)
        attempt.metrics.count(Counters.DEAD_LETTERS, published.rejected, pipeline=pipeline.name)
    return published


def _scopes(ranges: Sequence[OffsetRange]) -> list[tuple[str, int]]:
    return [(item.topic, item.partition) for item in ranges]


def _publish_window(publisher: _Publisher, window: Sequence[OffsetRange], *, last: bool) -> None:
    """Publish the partitions whose writers are open at once.

    Args:
        last: there is no window after this one.
    """
    topics = (publisher.pipeline.predictions_topic, publisher.pipeline.dead_letters_topic)
    with publisher.attempt.writers(_scopes(window), topics=topics) as writers:
        state: _State | None = None
        for position, (item, writer) in enumerate(zip(window, writers, strict=True)):
            if state is None or time.monotonic() > state.read_at + STATE_VALID_S:
                state = _read_state(publisher.attempt, writer, window[position:])
            _publish_partition(publisher, writer, item, state, last=last and item is window[-1])
            log.info(
                "Partition %d is predicted to offset %d; so far %s.", item.partition, item.end, publisher.published
            )


def _read_state(attempt: Attempt, writer: TransactionalWriter, ranges: Sequence[OffsetRange]) -> _State:
    keys = [attempt.key(hold.SCOPE), *(attempt.key(progress_scope(item)) for item in ranges)]
    read_at = time.monotonic()
    topic = topic_state(attempt.connection, ranges[0].topic, [item.partition for item in ranges])
    return _State(writer.read_ledger(keys), topic, read_at)


def _publish_partition(
    publisher: _Publisher, writer: TransactionalWriter, item: OffsetRange, state: _State, *, last: bool
) -> None:
    attempt, pipeline, published = publisher.attempt, publisher.pipeline, publisher.published
    key, hold_key = attempt.key(progress_scope(item)), attempt.key(hold.SCOPE)
    entry, held = state.entries.get(key, {}), state.entries.get(hold_key)
    unlimited = hold.limits_are_off(held, pipeline.name, attempt.run, acknowledge=publisher.acknowledge)
    if publisher.acknowledge:
        publisher.log_once(ACKNOWLEDGED if unlimited else NOTHING_TO_ACKNOWLEDGE)
    # The hold ends with the first chunk: a run that fails before it leaves the hold as it is.
    notes = {hold_key: hold.acknowledged_entry(held, attempt.run)} if held and unlimited else {}
    left = _left(attempt, item, entry, state.topic)
    if not left.offsets:
        if notes and last:
            with writer.transaction():
                _write_notes(writer, notes)
        return
    in_a_row = 0 if unlimited else entry.get(IN_A_ROW, 0)
    # The epoch is only valid if we resume exactly at the ledger's position.
    resumed = left.start == entry.get("position")
    leader_epoch = entry.get("leader_epoch", UNKNOWN_EPOCH) if resumed else UNKNOWN_EPOCH
    versions = _row_versions(publisher, left)
    for chunk in read_chunks(attempt.connection, publisher.consumer, left, pipeline, leader_epoch):
        attempt.check_stop(
            f"{published.samples} samples, before offset {chunk.start} of partition {left.partition} of {left.topic}"
        )
        records, outcomes = _predict(publisher, writer, chunk, versions)
        if not unlimited:
            try:
                in_a_row = check_limits(pipeline, published, in_a_row, outcomes)
            except TooManyRejected as refusal:
                refused = replace(left, start=chunk.start, end=chunk.end)
                with writer.transaction():
                    writer.write_ledger(hold_key, hold.hold_entry(refusal, refused, attempt.run))
                raise
        progress = progress_entry(left, chunk.end, attempt.run, leader_epoch=chunk.leader_epoch)
        notes[key] = {**progress, IN_A_ROW: in_a_row}
        with writer.transaction():
            for record in records:
                writer.produce(record)
            _write_notes(writer, notes)
            writer.send_offsets(publisher.consumer, _group_offset(left, chunk.end))
        notes.clear()
        published.add(outcomes)


def _left(attempt: Attempt, item: OffsetRange, entry: Mapping[str, Any], topic: TopicState) -> OffsetRange:
    """The part of the range behind the ledger's position."""
    left = item
    if entry:
        left = replace(item, start=position_in(item, entry, accept_lost=attempt.accept_lost))
        refuse_truncated(attempt.connection, item, entry)
    if left.offsets:
        check_range(left, topic)
    return left


def _row_versions(publisher: _Publisher, left: OffsetRange) -> RowVersions | None:
    """Which requests are the states of their rows at the range's end; None where there are no versions of rows.

    What an earlier attempt has published of the range does not matter: a newer version of a row never lies before it.
    """
    if not publisher.reader.has_versions:
        return None
    attempt = publisher.attempt
    return read_row_versions(attempt.connection, attempt.id("rows"), publisher.reader, [left], stopped=attempt.stopped)


def _predict(
    publisher: _Publisher, writer: TransactionalWriter, chunk: RequestChunk, versions: RowVersions | None
) -> tuple[list[OutgoingRecord], list[Outcome]]:
    """The records to publish for a chunk, and the outcome that each one stands for."""
    pipeline, predictor, run = publisher.pipeline, publisher.predictor, publisher.attempt.run
    records = publisher.reader.read(chunk.messages)
    states = [] if versions is None else [versions.of(message) for message in chunk.messages]
    outcomes = answer(predictor.network, pipeline.format, predictor.target, records, states)
    return outgoing_records(writer, pipeline, predictor, chunk.messages, records.ids, outcomes, run)


def _write_notes(writer: TransactionalWriter, notes: Mapping[LedgerKey, Mapping[str, Any]]) -> None:
    for key, entry in notes.items():
        writer.write_ledger(key, entry)


def _group_offset(left: OffsetRange, position: int) -> list[TopicPartition]:
    from confluent_kafka import TopicPartition

    return [TopicPartition(left.topic, left.partition, position)]
