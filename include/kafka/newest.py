"""The newest records of a topic, found by going back from its end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from include.kafka.headers import headers_of, headers_size
from include.kafka.reader import read_range

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message

    from include.kafka.connection import KafkaConnection
    from include.kafka.ranges import OffsetRange

# A record and the marker of its transaction.
FIRST_WINDOW = 2
# What is fetched ahead of a window lies behind its end and is known already.
READ_AHEAD = {"queued.min.messages": 100, "queued.max.messages.kbytes": 4 * 1024}


@dataclass(frozen=True)
class Limits:
    """How far one goes back: offsets of each partition, and bytes of all of them."""

    offsets: int
    size: int


@dataclass
class _PartitionTail:
    """A partition, how far back it was read, and what was found there, oldest first."""

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
    limits: Limits | None = None,
    wanted: Callable[[Message], bool] = lambda _: True,
) -> tuple[list[Message], bool]:
    """The last committed records of the ranges, at most `number`, the newest by their timestamps first.

    Offsets say little of where they are: markers and aborted records take some too. So each partition is read back in
    windows, each twice as large as the one behind it, until there are enough records or the range begins.

    Args:
        ranges: frozen, of one topic.
        wanted: which records count.

    Returns:
        The records, and whether they are all that were asked for: False where a limit came first.

    Raises:
        RangeUnavailable, LogTruncated, ReaderStalled: see `include.kafka.reader.read_range`.
    """
    partitions = [_PartitionTail(item, item.end) for item in ranges if item.offsets]
    left = partitions
    size, reached = 0, False
    with connection.consumer(group, **READ_AHEAD) as consumer:
        try:
            while left:
                for back in left:
                    size_left = None if limits is None else limits.size - size
                    size += _read_window(connection, consumer, back, number, size_left, wanted)
                short = [back for back in left if len(back.found) < number and back.start > back.whole.start]
                left = [back for back in short if limits is None or back.whole.end - back.start < limits.offsets]
                reached = reached or len(left) < len(short)
        except _TooMuch:
            reached = True
    found = [message for back in partitions for message in back.found]
    found.sort(key=lambda message: (message.timestamp()[1], message.partition(), message.offset()), reverse=True)
    return found[:number], not reached or len(found) >= number


def _read_window(
    connection: KafkaConnection,
    consumer: Consumer,
    back: _PartitionTail,
    number: int,
    size_left: int | None,
    wanted: Callable[[Message], bool],
) -> int:
    """Go back by one window, put what is wanted of it before what was found, and return its bytes.

    Raises:
        _TooMuch: it has more bytes than are left; what lies before its end was not all seen, so none of it is kept.
    """
    window = replace(back.whole, start=max(back.whole.start, back.start - back.window), end=back.start)
    kept: deque[Message] = deque(maxlen=number - len(back.found))
    size = 0
    for messages in read_range(connection, consumer, window, batch_size=READ_AHEAD["queued.min.messages"]):
        for message, headers in zip(messages, headers_of(messages), strict=True):
            size += len(message) + len(message.key() or b"") + headers_size(headers)
            if size_left is not None and size > size_left:
                raise _TooMuch
            if wanted(message):
                kept.append(message)
    back.found.extendleft(reversed(kept))
    back.start, back.window = window.start, 2 * back.window
    return size
