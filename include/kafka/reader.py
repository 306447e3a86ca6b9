"""Read a frozen offset range to its very end, knowing the end from a stall."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from include.kafka.errors import RangeUnavailable, ReaderStalled

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Message

    from include.kafka.connection import KafkaConnection
    from include.kafka.ranges import OffsetRange

# How long one `consume()` waits to fill its batch. It bounds the delay at the end of a log, where fewer records are
# left than asked for; everywhere else the batch is full long before.
FILL_S = 0.05


def read_range(
    connection: KafkaConnection,
    consumer: Consumer,
    wanted: OffsetRange,
    *,
    batch_size: int = 1000,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[list[Message]]:
    """The committed records of a range, in order, in lists of at most `batch_size`.

    The end is reached at a record at or beyond `wanted.end`, or at the end-of-partition event there: one empty poll
    proves nothing, and the last offsets of a range may be markers or aborted records that no reader ever gets.

    Args:
        consumer: from `KafkaConnection.consumer`; it is assigned here and left assigned.
        stopped: looked at between batches; True ends the iteration early.

    Raises:
        RangeUnavailable: the start was removed by retention while reading.
        ReaderStalled: nothing arrived for `connection.timeout_s` seconds.
    """
    from confluent_kafka import KafkaError, TopicPartition

    if not wanted.offsets:
        return
    consumer.assign([TopicPartition(wanted.topic, wanted.partition, wanted.start)])
    position = wanted.start
    deadline = time.monotonic() + connection.timeout_s
    while position < wanted.end and not stopped():
        messages = consumer.consume(min(batch_size, wanted.end - position), FILL_S)
        records = []
        for message in messages:
            error = message.error()
            if error is None:
                position = message.offset() + 1  # type: ignore[operator]  # a record without an error has an offset
                if position <= wanted.end:
                    records.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                position = max(position, message.offset() or 0)
            else:
                _raise_unless_passing(connection, error, wanted, position)
        if messages:
            deadline = time.monotonic() + connection.timeout_s
        elif time.monotonic() > deadline:
            raise ReaderStalled(
                f"Topic {wanted.topic} partition {wanted.partition} gave nothing for {connection.timeout_s:g} s at "
                f"offset {position} of [{wanted.start}, {wanted.end}): check the broker, or the rights of group and "
                "topic, and try again."
            )
        if records:
            yield records


def _raise_unless_passing(connection: KafkaConnection, error: KafkaError, wanted: OffsetRange, position: int) -> None:
    """Raise what ends the reading; lost brokers and moved leaders heal, and the stall limit bounds them."""
    from confluent_kafka import KafkaError, KafkaException

    if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
        raise RangeUnavailable(
            f"Topic {wanted.topic} partition {wanted.partition}: offset {position} of [{wanted.start}, {wanted.end}) "
            f"is gone ({error.str()}); retention removed it, so raise retention.ms or freeze new ranges."
        )
    passing = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT)
    if error.retriable() or error.code() in passing:
        return
    raise connection.explain(
        KafkaException(error), f"reading {wanted.topic} partition {wanted.partition}", topic=wanted.topic
    )
