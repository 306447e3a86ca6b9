"""The newest records of a topic, read backwards from its end."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from include.kafka.connection import KafkaConnection
from include.kafka.headers import headers_of, headers_size
from include.kafka.ranges import OffsetRange
from include.kafka.reader import read_range

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message


# A record and the marker of its transaction.
FIRST_WINDOW = 2
# Records fetched beyond the end of a window were read already.
READ_AHEAD = {"queued.min.messages": 100, "queued.max.messages.kbytes": 4 * 1024}


@dataclass(frozen=True)
class Limits:
    """How far back to read: offsets of each partition, and bytes of all together."""

    offsets: float = math.inf
    size: float = math.inf


@dataclass
class _PartitionTail:
    """A partition, the offset back to which it was read, and the records found there, oldest first."""

    whole: OffsetRange
    start: int
    window: int = FIRST_WINDOW
    found: deque[Message] = field(default_factory=deque)


class _TooMuch(Exception):
    """More bytes than the limits allow."""


def newest_records(
    connection: KafkaConnection,
    group: str,
    ranges: Sequence[OffsetRange],
    number: int,
    *,
    limits: Limits = Limits(),
    wanted: Callable[[Message], bool] = lambda _: True,
) -> tuple[list[Message], bool]:
    """The last committed records of the ranges, at most `number`, the newest by their timestamps first.

    Offsets do not count records: markers and aborted records take some too. So each partition is read backwards in
    windows, each twice as large as the one before, until there are enough records or the range begins.

    Args:
        ranges: frozen, of one topic.
        wanted: which records count.

    Returns:
        The records, and whether they are complete: False if a limit was reached first.

    Raises:
        RangeUnavailable, LogTruncated, ReaderStalled: see `include.kafka.reader.read_range`.
    """
    partitions = [_PartitionTail(item, item.end) for item in ranges if item.offsets]
    left = partitions
    size, reached = 0, False
    with connection.consumer(group, **READ_AHEAD) as consumer:
        try:
            while left:
                for tail in left:
                    size += _read_window(connection, consumer, tail, number, limits.size - size, wanted)
                short = [tail for tail in left if len(tail.found) < number and tail.start > tail.whole.start]
                left = [tail for tail in short if tail.whole.end - tail.start < limits.offsets]
                reached = reached or len(left) < len(short)
        except _TooMuch:
            reached = True
    found = [message for tail in partitions for message in tail.found]
    found.sort(key=lambda message: (message.timestamp()[1], message.partition(), message.offset()), reverse=True)
    return found[:number], not reached or len(found) >= number


def _read_window(
    connection: KafkaConnection,
    consumer: Consumer,
    tail: _PartitionTail,
    number: int,
    size_left: float,
    wanted: Callable[[Message], bool],
) -> int:
    """Read one window further tail, prepend its wanted records, and return its size in bytes.

    Raises:
        _TooMuch: the window has more bytes than are left; it was not read to its end, so none of its records is kept.
    """
    window = replace(tail.whole, start=max(tail.whole.start, tail.start - tail.window), end=tail.start)
    kept: deque[Message] = deque(maxlen=number - len(tail.found))
    size = 0
    for messages in read_range(connection, consumer, window, batch_size=READ_AHEAD["queued.min.messages"]):
        for message, headers in zip(messages, headers_of(messages), strict=True):
            size += len(message) + len(message.key() or b"") + headers_size(headers)
            if size > size_left:
                raise _TooMuch
            if wanted(message):
                kept.append(message)
    tail.found.extendleft(reversed(kept))
    tail.start, tail.window = window.start, 2 * tail.window
    return size
