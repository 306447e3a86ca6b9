"""Read a frozen offset range to its end, and distinguish that end from a stalled broker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING, Protocol, TypeVar

from include.kafka.columns import MOST_RECORDS, ColumnConsumer, Columns, Event, column_consumer
from include.kafka.connection import KafkaConnection, group_of
from include.kafka.errors import ReaderStalled, Undecompressible
from include.kafka.position import UNKNOWN_EPOCH, offset_of
from include.kafka.ranges import OffsetRange, available_offsets, removed_error, truncated_error
from include.kafka.rights import Right
from include.prefetch import prefetch

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Message

Records = TypeVar("Records", "list[Message]", Columns)


# How long one `consume()` waits to fill its batch; within a log the batch is full long before.
FILL_S = 0.05
# The same if fewer offsets are left than a batch has. Some may be markers, which no reader gets, so that the call waits
# the whole time, once for each of a topic's hundreds of small partitions.
FILL_END_S = 0.005

# As long as a reader would wait without asking.
LEADERS_S = 1.0

# librdkafka discards what it fetched beyond the end of a range, so with several ranges it prefetches only this much,
# enough for about ten milliseconds.
READ_AHEAD = {"queued.max.messages.kbytes": 4 * 1024}
# Of columns, threads take what is fetched at once, so that librdkafka should neither rest when its queue was full for a
# moment, nor let the broker hold a fetch at the end of a log.
COLUMNS_AHEAD = {**READ_AHEAD, "fetch.queue.backoff.ms": 1, "fetch.wait.max.ms": 1}
# Of each of two consumers. A batch has at most `include.kafka.columns.BATCH_BYTES`, or a few larger records.
BATCHES_AHEAD = 8
# For requests and dead letters, whose headers are kept for a chunk: see `KafkaConnection.consumer`.
FEW_RECORDS_AHEAD = {"queued.min.messages": 100}
FEW_RECORDS = 50


def read_range(
    connection: KafkaConnection,
    consumer: Consumer,
    wanted: OffsetRange,
    *,
    batch_size: int = 1000,
    leader_epoch: int = UNKNOWN_EPOCH,
) -> Iterator[list[Message]]:
    """The committed records of a range, in order, in lists of at most `batch_size`.

    The range ends at a record at or beyond `wanted.end`, or at the end-of-partition event there. An empty poll is no
    sign of the end, and the last offsets may be markers or aborted records, which no reader gets.

    Args:
        consumer: from `KafkaConnection.consumer`; it is assigned here and left assigned.
        leader_epoch: of the last record before the range, if known. With it the broker detects a log that has lost its
            tail, even if the log has grown again since (KIP-320).

    Raises:
        RangeUnavailable: the start was removed by retention while reading.
        LogTruncated: the log lost its tail while reading.
        Undecompressible: the next records are larger than any client decompresses, or damaged.
        ReaderStalled: the position did not move for `connection.timeout_s` seconds.
    """
    if wanted.offsets:
        client = _Messages(consumer)
        client.assign(wanted, leader_epoch)
        yield from _read(connection, client, wanted, batch_size, lambda: False)


def read_column_range(
    connection: KafkaConnection, consumer: ColumnConsumer, wanted: OffsetRange, *, leader_epoch: int = UNKNOWN_EPOCH
) -> Iterator[Columns]:
    """The same as columns; see `read_range`."""
    if wanted.offsets:
        consumer.assign(wanted, leader_epoch)
        yield from _read(connection, consumer, wanted, MOST_RECORDS, lambda: False)


def read_ranges(
    connection: KafkaConnection,
    group: str,
    ranges: Sequence[OffsetRange],
    *,
    batch_size: int = 1000,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[int, list[Message]]]:
    """The committed records of several ranges, in order, each list with the position of its range.

    Two consumers alternate: while one range is read, librdkafka fetches the beginning of the next, so that the next
    range costs no round trip.

    Args:
        stopped: polled between batches; True ends the iteration early.

    Raises:
        RangeUnavailable, LogTruncated, ReaderStalled: see `read_range`.
    """
    with ExitStack() as stack:
        count = min(2, sum(item.offsets > 0 for item in ranges))
        consumers = [stack.enter_context(connection.consumer(group, **READ_AHEAD)) for _ in range(count)]
        yield from _read_in_turn(connection, list(map(_Messages, consumers)), ranges, batch_size, stopped)


def read_columns(
    connection: KafkaConnection,
    group: str,
    ranges: Sequence[OffsetRange],
    *,
    batch_size: int = 1000,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[int, list[Message] | Columns]]:
    """The same as columns, where there can be any; else as `read_ranges`.

    Args:
        batch_size: of lists of messages; the length of columns depends on the size of the records.

    Raises:
        RangeUnavailable, LogTruncated, ReaderStalled: see `read_range`.
    """
    wanted = [(index, item) for index, item in enumerate(ranges) if item.offsets]
    with ExitStack() as stack:
        found = [stack.enter_context(column_consumer(connection, group, **COLUMNS_AHEAD)) for _ in wanted[:2]]
        consumers = [consumer for consumer in found if consumer is not None]
        if len(consumers) == len(found):
            left = threading.Event()

            def ended() -> bool:
                return left.is_set() or stopped()

            readings = [_read_each(connection, item, wanted[turn::2], ended) for turn, item in enumerate(consumers)]
            streams = [stack.enter_context(prefetch(reading, BATCHES_AHEAD)) for reading in readings]
            # First of all that is done at the end: nobody waits for a thread that a stalled broker gives nothing.
            stack.callback(left.set)
            for turn in range(len(wanted)):
                yield from takewhile(lambda item: item[1] is not None, streams[turn % 2])
            return
    yield from read_ranges(connection, group, ranges, batch_size=batch_size, stopped=stopped)


class _Client(Protocol[Records]):
    """What `_read` needs of a consumer, for either form of records."""

    @property
    def group(self) -> str:
        """The consumer's group."""

    def assign(self, wanted: OffsetRange) -> None:
        """Read from the beginning of the range."""

    def consume(self, most: int, timeout_s: float) -> tuple[Records, list[Event]]:
        """At most so many records and events, after at most the timeout."""

    def last_offset(self, records: Records) -> int:
        """The offset of the last record."""

    def before(self, records: Records, end: int) -> Records:
        """The records before an offset."""


class _Messages:
    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer

    @property
    def group(self) -> str:
        return group_of(self._consumer)

    def assign(self, wanted: OffsetRange, leader_epoch: int = UNKNOWN_EPOCH) -> None:
        from confluent_kafka import KafkaException, TopicPartition

        begun = bool(self._consumer.assignment())
        self._consumer.assign([TopicPartition(wanted.topic, wanted.partition, wanted.start, leader_epoch=leader_epoch)])
        if not begun:
            # A client that is connected already asks once a second for the leaders of a new topic; asked here, it knows
            # them within milliseconds. Where nothing answers, the reading says so.
            with suppress(KafkaException):
                self._consumer.list_topics(wanted.topic, timeout=LEADERS_S)

    def consume(self, most: int, timeout_s: float) -> tuple[list[Message], list[Event]]:
        messages = self._consumer.consume(most, timeout_s)
        events = [Event(error, offset_of(message)) for message in messages if (error := message.error()) is not None]
        return [message for message in messages if message.error() is None] if events else messages, events

    def last_offset(self, records: list[Message]) -> int:
        return offset_of(records[-1])

    def before(self, records: list[Message], end: int) -> list[Message]:
        return [message for message in records if offset_of(message) < end]


def _read_in_turn(
    connection: KafkaConnection,
    consumers: Sequence[_Client[Records]],
    ranges: Sequence[OffsetRange],
    batch_size: int,
    stopped: Callable[[], bool],
) -> Iterator[tuple[int, Records]]:
    """Read several ranges with one or two consumers; see `read_ranges`."""
    wanted = [(index, item) for index, item in enumerate(ranges) if item.offsets]
    for turn, (index, item) in enumerate(wanted):
        consumer = consumers[turn % 2]
        if turn == 0:
            consumer.assign(item)
        if turn + 1 < len(wanted):
            consumers[(turn + 1) % 2].assign(wanted[turn + 1][1])
        for records in _read(connection, consumer, item, batch_size, stopped):
            yield index, records
        if stopped():
            return


def _read_each(
    connection: KafkaConnection,
    consumer: ColumnConsumer,
    wanted: Sequence[tuple[int, OffsetRange]],
    stopped: Callable[[], bool],
) -> Generator[tuple[int, Columns | None]]:
    """The records of ranges that are read by one consumer, and None at the end of each; see `read_columns`."""
    for index, item in wanted:
        if stopped():
            return
        consumer.assign(item)
        for records in _read(connection, consumer, item, MOST_RECORDS, stopped):
            yield index, records
        yield index, None


def _read(
    connection: KafkaConnection,
    consumer: _Client[Records],
    wanted: OffsetRange,
    batch_size: int,
    stopped: Callable[[], bool],
) -> Iterator[Records]:
    """Read an assigned range; see `read_range`."""
    from confluent_kafka import KafkaError

    position = wanted.start
    deadline = time.monotonic() + connection.timeout_s
    while position < wanted.end and not stopped():
        before = position
        left = wanted.end - position
        records, events = consumer.consume(min(batch_size, left), FILL_S if left >= batch_size else FILL_END_S)
        if len(records):
            # Offsets ascend, so the last record has the largest.
            position = consumer.last_offset(records) + 1
            if position > wanted.end:
                records = consumer.before(records, wanted.end)
        for error, offset in events:
            if error.code() == KafkaError._PARTITION_EOF:
                position = max(position, offset)
            else:
                _raise_unless_temporary(connection, consumer.group, error, wanted, position)
        if position == before and time.monotonic() > deadline:
            raise ReaderStalled(
                f"Topic {wanted.topic} partition {wanted.partition} gave nothing for {connection.timeout_s:g} s at "
                f"offset {position} of [{wanted.start}, {wanted.end}): check the broker, or the rights of group and "
                "topic, and try again."
            )
        if len(records):
            yield records
        if position > before:
            # Set after the yield: the time in which the caller processes its records is no stall.
            deadline = time.monotonic() + connection.timeout_s


def _raise_unless_temporary(
    connection: KafkaConnection, group: str, error: KafkaError, wanted: OffsetRange, position: int
) -> None:
    """Raise a final error; lost brokers and moved leaders are temporary, and the stall limit bounds them."""
    from confluent_kafka import KafkaError, KafkaException

    if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._LOG_TRUNCATION):
        first, end = available_offsets(connection, wanted.topic, [wanted.partition])[wanted.partition]
        if position < first:
            raise removed_error(replace(wanted, start=position), first, end)
        raise truncated_error(wanted, position, first, end)
    if error.code() == KafkaError._BAD_COMPRESSION:
        raise Undecompressible(
            f"Topic {wanted.topic} partition {wanted.partition} has records from offset {position} on that can't be "
            f"decompressed ({error.str()}): delete what is up to them with `kafka-delete-records`, run the step with "
            "accept_lost, and give the topic compression.type=lz4, by which Kafka refuses such records."
        )
    temporary = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT)
    if error.retriable() or error.code() in temporary:
        return
    raise connection.explain(
        KafkaException(error),
        f"reading {wanted.topic} partition {wanted.partition}",
        topic=wanted.topic,
        rights=[Right("Topic", wanted.topic, "Read"), Right("Group", group, "Describe")],
    )
