"""Requests in the form in which they were read: as messages, or as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from include.kafka.columns import Columns
from include.kafka.headers import Headers, headers_of, headers_size
from include.kafka.position import leader_epoch_of, offset_of
from include.kafka.records import Address, ConsumedRecord, consumed_record
from include.reading.records import RecordReader, Records

if TYPE_CHECKING:
    import numpy as np
    from confluent_kafka import Message


@dataclass(frozen=True)
class MessageRequests:
    """Requests of one partition, in their order.

    Attributes:
        topic, partition: from which they are.
    """

    topic: str
    partition: int
    messages: list[Message]

    def __len__(self) -> int:
        return len(self.messages)

    @cached_property
    def offsets(self) -> list[int]:
        return list(map(offset_of, self.messages))

    @property
    def timestamps(self) -> list[int]:
        """Of each, in milliseconds since the epoch."""
        return [message.timestamp()[1] for message in self.messages]

    @property
    def headers(self) -> list[Headers]:
        return headers_of(self.messages)

    @property
    def leader_epoch(self) -> int:
        """Of the last one."""
        return leader_epoch_of(self.messages[-1])

    def sizes(self) -> np.ndarray[Any, Any]:
        """int64 array of shape (n,): the approximate memory of each in bytes."""
        import numpy as np

        pairs = zip(self.messages, self.headers, strict=True)
        sizes = [len(message) + len(message.key() or b"") + headers_size(headers) for message, headers in pairs]
        return np.array(sizes, np.int64)

    def part(self, start: int, end: int) -> MessageRequests:
        """Those between two places."""
        return MessageRequests(self.topic, self.partition, self.messages[start:end])

    def read(self, reader: RecordReader) -> Records:
        """See `RecordReader.read`."""
        return reader.read(self.messages)

    def record(self, place: int) -> ConsumedRecord:
        """All of one."""
        return consumed_record(self.messages[place])


@dataclass(frozen=True)
class ColumnRequests:
    """The same in columns, see `MessageRequests`."""

    topic: str
    partition: int
    columns: Columns

    def __len__(self) -> int:
        return len(self.columns)

    @cached_property
    def offsets(self) -> list[int]:
        offsets: list[int] = self.columns.offsets.tolist()
        return offsets

    @property
    def timestamps(self) -> list[int]:
        timestamps: list[int] = self.columns.timestamps.tolist()
        return timestamps

    @property
    def headers(self) -> list[Headers]:
        return [self.columns.header_sets[number] for number in self.columns.headers.tolist()]

    @property
    def leader_epoch(self) -> int:
        return int(self.columns.leader_epochs[-1])

    def sizes(self) -> np.ndarray[Any, Any]:
        import numpy as np

        columns = self.columns
        of_headers = np.array(list(map(headers_size, columns.header_sets)), np.int64)
        sizes: np.ndarray[Any, Any] = columns.values.sizes + columns.keys.sizes + of_headers[columns.headers]
        return sizes

    def part(self, start: int, end: int) -> ColumnRequests:
        return ColumnRequests(self.topic, self.partition, self.columns.part(start, end))

    def read(self, reader: RecordReader) -> Records:
        return reader.read_columns(self.topic, self.partition, self.columns)

    def record(self, place: int) -> ConsumedRecord:
        columns = self.columns
        return ConsumedRecord(
            Address(self.topic, self.partition, self.offsets[place]),
            columns.keys[place],
            columns.values[place],
            columns.header_sets[columns.headers[place]],
            int(columns.timestamps[place]),
        )


Requests = MessageRequests | ColumnRequests


def joined(topic: str, partition: int, parts: Sequence[Requests]) -> Requests:
    """The requests of several parts of a partition, all in one form."""
    columns = [part.columns for part in parts if isinstance(part, ColumnRequests)]
    if columns:
        return ColumnRequests(topic, partition, Columns.joined(columns))
    messages = [message for part in parts if isinstance(part, MessageRequests) for message in part.messages]
    return MessageRequests(topic, partition, messages)
