"""Read a frozen offset range to its end, and distinguish that end from a stalled broker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from include.kafka.connection import KafkaConnection, group_of
from include.kafka.errors import ReaderStalled, Undecompressible
from include.kafka.position import UNKNOWN_EPOCH, offset_of
from include.kafka.ranges import OffsetRange, available_offsets, removed_error, truncated_error
from include.kafka.rights import Right

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Message


# How long one `consume()` waits to fill its batch; within a log the batch is full long before.
FILL_S = 0.05
# The same if fewer offsets are left than a batch has. Some may be markers, which no reader gets, so that the call waits
# the whole time, once for each of a topic's hundreds of small partitions.
FILL_END_S = 0.005

# librdkafka discards what it fetched beyond the end of a range, so with several ranges it prefetches only this much,
# enough for about ten milliseconds.
READ_AHEAD = {"queued.max.messages.kbytes": 4 * 1024}
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
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[list[Message]]:
    """The committed records of a range, in order, in lists of at most `batch_size`.

    The range ends at a record at or beyond `wanted.end`, or at the end-of-partition event there. An empty poll is no
    sign of the end, and the last offsets may be markers or aborted records, which no reader gets.

    Args:
        consumer: from `KafkaConnection.consumer`; it is assigned here and left assigned.
        leader_epoch: of the last record before the range, if known. With it the broker detects a log that has lost its
            tail, even if the log has grown again since (KIP-320).
        stopped: polled between batches; True ends the iteration early.

    Raises:
        RangeUnavailable: the start was removed by retention while reading.
        LogTruncated: the log lost its tail while reading.
        Undecompressible: the next records are larger than any client decompresses, or damaged.
        ReaderStalled: the position did not move for `connection.timeout_s` seconds.
    """
    if wanted.offsets:
        _assign(consumer, wanted, leader_epoch)
        yield from _read(connection, consumer, wanted, batch_size, stopped)


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

    Raises:
        RangeUnavailable, LogTruncated, ReaderStalled: see `read_range`.
    """
    wanted = [(index, item) for index, item in enumerate(ranges) if item.offsets]
    with ExitStack() as stack:
        consumers = [stack.enter_context(connection.consumer(group, **READ_AHEAD)) for _ in wanted[:2]]
        for turn, (index, item) in enumerate(wanted):
            consumer = consumers[turn % 2]
            if turn == 0:
                _assign(consumer, item)
            if turn + 1 < len(wanted):
                _assign(consumers[(turn + 1) % 2], wanted[turn + 1][1])
            for messages in _read(connection, consumer, item, batch_size, stopped):
                yield index, messages
            if stopped():
                return


def _assign(consumer: Consumer, wanted: OffsetRange, leader_epoch: int = UNKNOWN_EPOCH) -> None:
    from confluent_kafka import TopicPartition

    start = TopicPartition(wanted.topic, wanted.partition, wanted.start, leader_epoch=leader_epoch)
    consumer.assign([start])


def _read(
    connection: KafkaConnection, consumer: Consumer, wanted: OffsetRange, batch_size: int, stopped: Callable[[], bool]
) -> Iterator[list[Message]]:
    """Read an assigned range; see `read_range`."""
    from confluent_kafka import KafkaError

    position = wanted.start
    deadline = time.monotonic() + connection.timeout_s
    while position < wanted.end and not stopped():
        before = position
        left = wanted.end - position
        messages = consumer.consume(min(batch_size, left), FILL_S if left >= batch_size else FILL_END_S)
        events = [message for message in messages if message.error() is not None]
        records = [message for message in messages if message.error() is None] if events else messages
        if records:
            # Offsets ascend, so the last record has the largest.
            position = offset_of(records[-1]) + 1
            if position > wanted.end:
                records = [message for message in records if offset_of(message) < wanted.end]
        for event in events:
            error = cast("KafkaError", event.error())
            if error.code() == KafkaError._PARTITION_EOF:
                position = max(position, offset_of(event))
            else:
                _raise_unless_temporary(connection, consumer, error, wanted, position)
        if position == before and time.monotonic() > deadline:
            raise ReaderStalled(
                f"Topic {wanted.topic} partition {wanted.partition} gave nothing for {connection.timeout_s:g} s at "
                f"offset {position} of [{wanted.start}, {wanted.end}): check the broker, or the rights of group and "
                "topic, and try again."
            )
        if records:
            yield records
        if position > before:
            # Set after the yield: the time in which the caller processes its records is no stall.
            deadline = time.monotonic() + connection.timeout_s


def _raise_unless_temporary(
    connection: KafkaConnection, consumer: Consumer, error: KafkaError, wanted: OffsetRange, position: int
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
        rights=[Right("Topic", wanted.topic, "Read"), Right("Group", group_of(consumer), "Describe")],
    )
