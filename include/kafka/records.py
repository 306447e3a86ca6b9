"""A record to be produced, and the address of a consumed one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from include.kafka.headers import Headers, headers_of

if TYPE_CHECKING:
    from confluent_kafka import Message

# What a record costs beyond its key, value and headers in a batch of one (record batch header, varints).
RECORD_OVERHEAD_BYTES = 128


class OutgoingRecord(NamedTuple):
    """A record to be produced; a named tuple, because a frozen dataclass takes three times as long to make.

    Attributes:
        timestamp_ms: event time in milliseconds since the epoch; 0 for now.
        partition: -1 to derive it from the key.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()
    timestamp_ms: int = 0
    partition: int = -1

    @property
    def size_bound(self) -> int:
        """An upper bound of its size on the wire, in bytes."""
        size = RECORD_OVERHEAD_BYTES + len(self.key or b"") + len(self.value or b"")
        for name, content in self.headers:
            size += (len(name) if name.isascii() else len(name.encode())) + len(content or b"") + 10
        return size


@dataclass(frozen=True)
class Address:
    """Where a record is in Kafka; it names the sample that the record holds."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True)
class ConsumedRecord:
    """All of a consumed record; the timestamp is in milliseconds since the epoch."""

    address: Address
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int


def consumed_record(message: Message) -> ConsumedRecord:
    return ConsumedRecord(
        address_of(message), message.key(), message.value(), headers_of([message])[0], message.timestamp()[1]
    )


def address_of(message: Message) -> Address:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    if topic is None or partition is None or offset is None:
        raise ValueError("A consumed record has a topic, a partition and an offset; this one was not consumed.")
    return Address(topic, partition, offset)
