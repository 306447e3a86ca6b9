"""Publish predictions exactly once: results, dead letters, ledger and offsets in one transaction a chunk."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from include.exactly_once.attempt import WRITERS_AT_ONCE, Attempt, Step, windows
from include.exactly_once.entries import Hold
from include.exactly_once.progress import (
    group_offsets,
    progress_entry,
    progress_scope,
    refuse_other_position,
    remaining,
)
from include.exactly_once.transaction import TransactionalWriter
from include.kafka.columns import ColumnConsumer
from include.kafka.errors import Fenced
from include.kafka.ranges import OffsetRange, TopicState, check_range, repeated_log_ends, topic_state
from include.metrics import Counters
from include.prediction.answer import AnsweredRequests, RequestOutcome, answer_requests
from include.prediction.chunks import RequestChunk, newest_rows, read_chunks, request_consumer, request_reader
from include.prediction.hold import SCOPE, Gate, StepHeld, gate_of, hold_at
from include.prediction.limits import PublishReport, TooManyRejected, check_limits
from include.prediction.outgoing import outgoing_records
from include.prediction.shadow import FindChallenger, Shadow
from include.prefetch import prefetch
from include.reading.records import RecordReader
from include.reading.row_versions import RowVersions
from include.registry.agreement import Agreement

if TYPE_CHECKING:
    from confluent_kafka import Consumer

    from include.definition.pipeline import Pipeline
    from include.exactly_once.ledger import LedgerKey
    from include.prediction.predictor import Predictor

log = logging.getLogger(__name__)

STEP: Step = "predict"
# From the beginning of a chunk's prediction to the end of its transaction.
CHUNK_SPAN = "millrace.predict.chunk"
# Kept with a partition's position, so that rejections in a row are counted across attempts and runs.
IN_A_ROW = "rejected_in_a_row"
# How long a reading of ledger and topic stays valid: many small partitions share one, and between large ones it is
# repeated, to notice another task's hold or a recreated topic.
STATE_VALID_S = 5.0
# How long a champion predicts before the registry is asked whether another one was promoted.
CHAMPION_VALID_S = 1.0
# How often a task that lingers asks for new requests. What comes in between is one transaction for each partition.
LINGER_POLL_S = 0.25
# Under steady traffic a task that lingers would never end, and then raise no asset event and meet its timeout.
MAX_LINGER_TOTAL_S = 3600.0

ACKNOWLEDGED = "The hold is acknowledged: this run's limits are off."
NOTHING_TO_ACKNOWLEDGE = "There is no hold to acknowledge: the limits stay on."


@dataclass
class _Publisher:
    """What all partitions of one attempt have in common, and what it has published so far."""

    attempt: Attempt
    pipeline: Pipeline
    predictor: Predictor
    newest: Callable[[Predictor], Predictor] | None
    acknowledge: bool
    reader: RecordReader
    consumer: Consumer
    published: PublishReport
    shadow: Shadow | None
    opened: ExitStack
    began: float = field(default_factory=time.monotonic)
    renewed_at: float = field(default_factory=time.monotonic)
    logged: bool = False

    @cached_property
    def requests(self) -> Consumer | ColumnConsumer:
        """The consumer of the requests, opened when something is read."""
        return self.opened.enter_context(request_consumer(self.attempt, self.pipeline, self.reader))

    def renew_predictor(self) -> None:
        """Let the next chunk be predicted by the model that is the newest now."""
        if self.newest is not None and time.monotonic() >= self.renewed_at + CHAMPION_VALID_S:
            self.predictor = self.newest(self.predictor)
            self.renewed_at = time.monotonic()

    def log_once(self, sentence: str) -> None:
        """Log what holds for all partitions."""
        if not self.logged:
            log.warning("%s", sentence)
        self.logged = True


@dataclass
class _State:
    """The ledger and the requests topic as they were at a time of the monotonic clock, in seconds.

    What the attempt itself commits or finds later is added.

    Attributes:
        offsets: the group's, by partition.
    """

    entries: dict[LedgerKey, dict[str, Any]]
    offsets: dict[int, int]
    topic: TopicState
    read_at: float

    def extend(self, item: OffsetRange) -> None:
        """Add that the partition's log reaches the end of the item."""
        first = self.topic.bounds[item.partition][0]
        self.topic = replace(self.topic, bounds={**self.topic.bounds, item.partition: (first, item.end)})


@dataclass(frozen=True)
class _AnsweredChunk:
    """A predicted chunk.

    Attributes:
        rest: what was left of its partition before its first chunk.
        began_ns: when its prediction began, in nanoseconds since 1970.
    """

    rest: OffsetRange
    chunk: RequestChunk
    predictor: Predictor
    answered: AnsweredRequests
    began_ns: int


def publish_predictions(
    attempt: Attempt,
    pipeline: Pipeline,
    ranges: Sequence[OffsetRange],
    predictor: Predictor,
    *,
    newest: Callable[[Predictor], Predictor] | None = None,
    challenger: FindChallenger | None = None,
    linger_s: float = 0.0,
    acknowledge: bool = False,
) -> PublishReport:
    """Predict the part of the ranges that is not predicted yet, partition by partition, and publish it.

    The ledger has the position of each partition, whichever attempt of whichever run has written it.

    Args:
        ranges: frozen ranges of the requests topic.
        newest: returns the model for the next chunks, given the one of the last, see `newest_champion`; without it
            the model stays.
        challenger: returns the version that predicts beside the model, see include.prediction.shadow; without it none
            does.
        linger_s: stay for this many seconds after the last chunk, and go on with what arrives in the partitions of
            `ranges`, until `MAX_LINGER_TOTAL_S` after the beginning. All partitions keep their writers, so there may be
            `WRITERS_AT_ONCE` of them; with more the attempt ends at once.
        acknowledge: end the hold, and publish what stopped the step without limits; see include.prediction.hold.

    Raises:
        InvalidSigningKeys: records are signed and there is no key to verify them with.
        NoRegistry, RegistryAway, RegistryRefused: see include.kafka.schema_registry; the chunk was not published.
        LedgerDamaged: an entry is not one that a step has written, or is not the group's offset.
        TooManyRejected: a limit of `[prediction]` was met; the chunk that met it was not published, and the step is
            held.
        StepHeld: the step was held before, and nothing was published.
        NetworkFailed: see include.prediction.forward.
        TopicRecreated, RangeUnavailable, LogTruncated, ReaderStalled, Fenced, TransactionFailed: see include.kafka.
    """
    attempt.require(pipeline.name, STEP)
    requests = request_reader(attempt.connection, pipeline)
    published = PublishReport()
    shadow = None if challenger is None else Shadow(attempt, pipeline, ranges, challenger)
    try:
        with requests as reader, attempt.consumer() as consumer, ExitStack() as opened:
            publisher = _Publisher(
                attempt, pipeline, predictor, newest, acknowledge, reader, consumer, published, shadow, opened
            )
            if linger_s and len(ranges) > WRITERS_AT_ONCE:
                log.warning(
                    "The attempt ends without lingering: it has %d partitions of %s and a task lingers with %d at "
                    "most, so raise prediction.tasks.",
                    len(ranges),
                    pipeline.requests_topic,
                    WRITERS_AT_ONCE,
                )
                linger_s = 0.0
            # Opening the writers of the first window fences the others.
            attempt.fence(_scopes(ranges[WRITERS_AT_ONCE:]))
            for window in windows(ranges):
                _publish_window(publisher, window, last=window[-1] is ranges[-1], linger_s=linger_s)
    finally:
        log.info("This attempt published: %s.", published)
        attempt.metrics.count(Counters.PREDICTIONS, published.predictions, pipeline=pipeline.name)
        attempt.metrics.count(Counters.DEAD_LETTERS, published.rejected, pipeline=pipeline.name)
        if shadow is not None:
            attempt.metrics.count(Counters.SHADOWED, published.shadowed.requests, pipeline=pipeline.name)
            attempt.metrics.count(Counters.DISAGREEMENTS, published.shadowed.disagreed, pipeline=pipeline.name)
    return published


def _scopes(ranges: Sequence[OffsetRange]) -> list[tuple[str, int]]:
    return [(item.topic, item.partition) for item in ranges]


def _publish_window(publisher: _Publisher, window: Sequence[OffsetRange], *, last: bool, linger_s: float) -> None:
    """Publish the partitions whose writers are open at once, and linger with them.

    Args:
        last: there is no window after this one.
    """
    topics = (publisher.pipeline.predictions_topic, publisher.pipeline.dead_letters_topic)
    with publisher.attempt.writers(_scopes(window), topics=topics) as writers:
        state = _read_state(publisher, writers[0], window)
        publisher.published.same_run |= any(
            state.entries.get(publisher.attempt.key(progress_scope(item)), {}).get("run") == publisher.attempt.run
            for item in window
        )
        # Before anything is read.
        _pass_hold(publisher, state)
        with prefetch(_answered(publisher, window, state.entries)) as chunks:
            for position, (item, writer) in enumerate(zip(window, writers, strict=True)):
                if time.monotonic() > state.read_at + STATE_VALID_S:
                    state = _read_state(publisher, writer, window[position:])
                _publish_partition(publisher, writer, item, state, chunks, last=last and item is window[-1])
                log.info(
                    "Partition %d is predicted to offset %d; so far %s.", item.partition, item.end, publisher.published
                )
        if linger_s:
            _linger(publisher, window, writers, linger_s)


def _linger(
    publisher: _Publisher, window: Iterable[OffsetRange], writers: Sequence[TransactionalWriter], linger_s: float
) -> None:
    """Publish what arrives behind the ranges of a window, until nothing has for `linger_s` seconds."""
    attempt, topic = publisher.attempt, publisher.pipeline.requests_topic
    items = list(window)
    state = _read_state(publisher, writers[0], items)
    latest = publisher.began + MAX_LINGER_TOTAL_S
    log.info("All requests are predicted; the attempt stays for %g s and goes on with what arrives.", linger_s)
    with repeated_log_ends(attempt.connection, topic, [item.partition for item in items]) as log_ends:
        until = min(time.monotonic() + linger_s, latest)
        while time.monotonic() < until:
            attempt.check_stop(f"{publisher.published.samples} samples, while it waited for more of {topic}")
            ends = log_ends()
            # A log that has lost its tail gives nothing here; the next run refuses it.
            arrived = [number for number, item in enumerate(items) if ends[item.partition] > item.end]
            if arrived and time.monotonic() > state.read_at + STATE_VALID_S:
                state = _read_state(publisher, writers[0], items)
            for number in arrived:
                before = items[number]
                item = items[number] = replace(before, start=before.end, end=ends[before.partition])
                state.extend(item)
                with prefetch(_answered(publisher, [item], state.entries)) as chunks:
                    _publish_partition(publisher, writers[number], item, state, chunks, last=False)
                until = min(time.monotonic() + linger_s, latest)
            time.sleep(LINGER_POLL_S)


def _read_state(publisher: _Publisher, writer: TransactionalWriter, ranges: Sequence[OffsetRange]) -> _State:
    attempt = publisher.attempt
    keys = [attempt.key(SCOPE), *(attempt.key(progress_scope(item)) for item in ranges)]
    read_at = time.monotonic()
    # Each waits for the broker several times.
    with ThreadPoolExecutor(3, thread_name_prefix="state") as pool:
        partitions = [item.partition for item in ranges]
        topic = pool.submit(topic_state, attempt.connection, ranges[0].topic, partitions)
        entries = pool.submit(writer.read_ledger, keys)
        offsets = pool.submit(group_offsets, attempt.connection, publisher.consumer, ranges)
        return _State(topic=topic.result(), entries=entries.result(), offsets=offsets.result(), read_at=read_at)


def _publish_partition(
    publisher: _Publisher,
    writer: TransactionalWriter,
    item: OffsetRange,
    state: _State,
    chunks: Iterator[_AnsweredChunk],
    *,
    last: bool,
) -> None:
    """Publish what is not published of one partition, one transaction a chunk.

    1. Read the hold and the partition's progress in the ledger.
    2. Take a predicted chunk and count its refusals against the limits; a chunk beyond them is not published, and the
       step is held. The next chunks are read and predicted meanwhile, those of the next partitions, too.
    3. Commit its records together with the progress, the end of an acknowledged hold, and the group's offset.

    Args:
        chunks: those of the item and of what comes after it, see `_answered`; the item's are taken.
    """
    from confluent_kafka import TopicPartition

    attempt, published = publisher.attempt, publisher.published
    published.cover(item)
    gate, entries = _pass_hold(publisher, state)
    key = attempt.key(progress_scope(item))
    progress = state.entries.get(key, {})
    rest, _ = remaining(attempt.connection, item, progress, accept_lost=attempt.accept_lost)
    refuse_other_position(item, progress, state.offsets.get(item.partition), attempt.group())
    if not rest.offsets:
        if entries and last:
            with writer.transaction():
                _write_entries(writer, entries)
        return
    check_range(rest, state.topic)
    in_a_row = progress.get(IN_A_ROW, 0) if gate is Gate.WITHIN_LIMITS else 0
    for predicted in chunks:
        chunk, predictor, answered = predicted.chunk, predicted.predictor, predicted.answered
        if predicted.rest != rest:
            raise Fenced(
                f"Another run has predicted {item.topic} partition {item.partition} while this one read it, so this "
                "one stops: look for a second run of the same step."
            )
        where = f"offset {chunk.start} of partition {item.partition} of {item.topic}"
        attempt.check_stop(f"{published.samples} samples, before {where}")
        records, outcomes = outgoing_records(
            writer, publisher.pipeline, predictor, chunk.requests, answered.ids, answered.outcomes, attempt.run
        )
        if gate is Gate.WITHIN_LIMITS:
            refused = replace(item, start=chunk.start, end=chunk.end)
            in_a_row = _count_refusals(publisher, writer, refused, in_a_row, outcomes)
        entry = progress_entry(item, chunk.end, attempt.run, leader_epoch=chunk.leader_epoch)
        entries[key] = {**entry, IN_A_ROW: in_a_row}
        shadowed = Agreement()
        if publisher.shadow is not None:
            compared = publisher.shadow.compare(predictor, chunk.requests, outcomes, answered.samples)
            if compared is not None and (recorded := publisher.shadow.entries(writer, item, compared)):
                entries |= recorded
                shadowed = compared.found
        with writer.transaction():
            for record in records:
                writer.produce(record)
            _write_entries(writer, entries)
            writer.send_offsets(publisher.consumer, [TopicPartition(item.topic, item.partition, chunk.end)])
        state.entries |= entries
        state.offsets[item.partition] = chunk.end
        entries.clear()
        published.add(outcomes, predictor.identity.version)
        published.shadowed += shadowed
        attempt.metrics.span(CHUNK_SPAN, predicted.began_ns, _span_attributes(item, predicted))
        if chunk.end == rest.end:
            return


def _answered(
    publisher: _Publisher, ranges: Sequence[OffsetRange], entries: Mapping[LedgerKey, Mapping[str, Any]]
) -> Generator[_AnsweredChunk]:
    """The chunks of what is left of partitions, one after the other, each by the newest model.

    The next chunk is read while one is predicted.

    Args:
        entries: have the partitions' progress, which nobody else can change.
    """
    with prefetch(_read(publisher, ranges, entries)) as chunks:
        for rest, chunk, versions in chunks:
            began_ns = time.time_ns()
            publisher.renew_predictor()
            predictor = publisher.predictor
            answered = answer_requests(publisher.pipeline, predictor, publisher.reader, chunk.requests, versions)
            yield _AnsweredChunk(rest, chunk, predictor, answered, began_ns)


def _read(
    publisher: _Publisher, ranges: Sequence[OffsetRange], entries: Mapping[LedgerKey, Mapping[str, Any]]
) -> Generator[tuple[OffsetRange, RequestChunk, RowVersions | None]]:
    """The same chunks before they are predicted, each with what was left of its partition, and its rows' states."""
    attempt, pipeline, reader = publisher.attempt, publisher.pipeline, publisher.reader
    for item in ranges:
        progress = entries.get(attempt.key(progress_scope(item)), {})
        rest, epoch = remaining(attempt.connection, item, progress, accept_lost=attempt.accept_lost)
        if rest.offsets:
            versions = newest_rows(attempt, reader, rest)
            for chunk in read_chunks(attempt.connection, publisher.requests, rest, pipeline, reader, epoch):
                yield rest, chunk, versions


def _span_attributes(item: OffsetRange, predicted: _AnsweredChunk) -> dict[str, str | int]:
    """What a trace shows of a chunk, by the names of OpenTelemetry's conventions for messaging where there are some."""
    return {
        "messaging.system": "kafka",
        "messaging.destination.name": item.topic,
        "messaging.destination.partition.id": str(item.partition),
        "messaging.batch.message_count": len(predicted.chunk.requests),
        "millrace.offsets.start": predicted.chunk.start,
        "millrace.offsets.end": predicted.chunk.end,
        "millrace.model.version": predicted.predictor.identity.version,
    }


def _pass_hold(publisher: _Publisher, state: _State) -> tuple[Gate, dict[LedgerKey, dict[str, Any]]]:
    """What the attempt may publish, and the entries that end a hold, which are to be written with its next chunk.

    A run that fails before its first chunk leaves the hold as it is.

    Raises:
        StepHeld: nothing at all.
    """
    attempt, key = publisher.attempt, publisher.attempt.key(SCOPE)
    hold = None if (entry := state.entries.get(key)) is None else Hold.model_validate(entry)
    gate = gate_of(hold, attempt.run, acknowledge=publisher.acknowledge)
    if hold is not None and gate is Gate.NOTHING:
        raise StepHeld(attempt.pipeline, hold)
    if publisher.acknowledge:
        publisher.log_once(ACKNOWLEDGED if gate is Gate.WITHOUT_LIMITS else NOTHING_TO_ACKNOWLEDGE)
    if hold is None or gate is Gate.WITHIN_LIMITS:
        return gate, {}
    return gate, {key: hold.model_copy(update={"acknowledged_by": attempt.run}).fields()}


def _count_refusals(
    publisher: _Publisher,
    writer: TransactionalWriter,
    chunk: OffsetRange,
    in_a_row: int,
    outcomes: Sequence[RequestOutcome],
) -> int:
    """The rejections in a row at the end of a chunk; one beyond a limit holds the step.

    Raises:
        TooManyRejected: see `check_limits`.
    """
    attempt = publisher.attempt
    try:
        return check_limits(publisher.pipeline, publisher.published, in_a_row, outcomes)
    except TooManyRejected as refusal:
        with writer.transaction():
            writer.write_ledger(attempt.key(SCOPE), hold_at(chunk, refusal, attempt.run).fields())
        raise


def _write_entries(writer: TransactionalWriter, entries: Mapping[LedgerKey, Mapping[str, Any]]) -> None:
    for key, entry in entries.items():
        writer.write_ledger(key, entry)
