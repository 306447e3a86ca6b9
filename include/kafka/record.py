"""The headers of a Millrace record and the address that names a sample wherever it goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from confluent_kafka import Message

SCHEMA = "schema"
LABEL = "label"
GROUP = "group"
MODEL = "model"

# What a record costs beyond its key, value and headers in a batch of one (record batch header, varints).
RECORD_OVERHEAD_BYTES = 128


class OutgoingRecord(NamedTuple):
    """A record to be produced; a named tuple, because a frozen dataclass takes three times as long to make.

    Attributes:
        timestamp_ms: event time in milliseconds since the epoch; 0 for now.
        partition: -1 leaves it to the key.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    timestamp_ms: int = 0
    partition: int = -1

    @property
    def size_bound(self) -> int:
        """An upper bound of its size on the wire, in bytes."""
        size = RECORD_OVERHEAD_BYTES + len(self.key or b"") + len(self.value or b"")
        for name, content in self.headers:
            size += len(name) + len(content or b"") + 10
        return size


@dataclass(frozen=True)
class Address:
    """Where a sample is found; `index` counts the samples of a packed record and is 0 otherwise."""

    topic: str
    partition: int
    offset: int
    index: int = 0

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}/{self.index}"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def address_of(message: Message, index: int = 0) -> Address:
    """The address of a sample in a consumed record."""
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    if topic is None or partition is None or offset is None:
        raise ValueError("A consumed record has a topic, a partition and an offset; this one was never sent.")
    return Address(topic, partition, offset, index)


@dataclass(frozen=True, slots=True)
class RecordHeaders:
    """What Millrace reads of a record's headers; None where a header is absent."""

    schema: str | None = None
    label: str | None = None
    group: bytes | None = None


# Headers repeat: a topic has one schema and a few labels. Reading them once per distinct set takes their cost off the
# hot path; where `group` makes each set different, the bound keeps the memory flat.
@lru_cache(maxsize=8192)
def read_headers(headers: tuple[tuple[str, bytes | None], ...]) -> RecordHeaders:
    """Parse a record's headers; the last one of a name counts, and bytes that are not UTF-8 are replaced."""
    found = dict(headers)
    schema, label = found.get(SCHEMA), found.get(LABEL)
    return RecordHeaders(
        schema=None if schema is None else schema.decode("utf-8", "replace"),
        label=None if label is None else label.decode("utf-8", "replace"),
        group=found.get(GROUP),
    )


def write_headers(schema: str, *, label: str | None = None, group: str | None = None) -> list[tuple[str, bytes]]:
    """The headers of a sample; `group` only where it is not the sample's id, which the key carries already."""
    return list(_encoded_headers(schema, label, group))


# Shared pairs, not only for their encoding: thousands of records are kept until their transaction begins, and the
# garbage collector walks through every tuple that each of them has of its own.
@lru_cache(maxsize=8192)
def _encoded_headers(schema: str, label: str | None, group: str | None) -> tuple[tuple[str, bytes], ...]:
    texts = ((SCHEMA, schema), (LABEL, label), (GROUP, group))
    return tuple((name, text.encode()) for name, text in texts if text is not None)
