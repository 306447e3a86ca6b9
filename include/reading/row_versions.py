"""Versions of rows, as of change data capture: which record of frozen ranges is the state of its row at their end."""

from __future__ import annotations

import hashlib
import logging
from array import array
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING

from include.kafka.connection import KafkaConnection
from include.kafka.position import offset_of
from include.kafka.ranges import OffsetRange
from include.kafka.reader import read_ranges
from include.reading.records import RecordReader, RowChange

if TYPE_CHECKING:
    from confluent_kafka import Message


log = logging.getLogger(__name__)

# Samples may be large, and are read for their rows alone.
READ_RECORDS = 100
NAME_BYTES = 16
SEVERAL = b""


class RowState(IntEnum):
    """What a record is at the end of the ranges."""

    NEWEST = 0
    SUPERSEDED = 1
    DELETION = 2


class RowVersions:
    """The state of each record of some ranges, one a partition; memory holds a byte for each offset."""

    def __init__(self, ranges: Sequence[OffsetRange]) -> None:
        self._first: dict[int, int] = {}
        self._start = {item.partition: item.start for item in ranges}
        total = 0
        for item in ranges:
            self._first[item.partition] = total
            total += item.offsets
        self._states = bytearray(total)

    def __len__(self) -> int:
        return len(self._states)

    def first_place(self, message: Message) -> int:
        """Where the first state of the record's partition is; the ranges' own order is that of the places."""
        return self._first[message.partition() or 0]

    def place_of(self, message: Message) -> int:
        return self._place(message.partition() or 0, offset_of(message))

    def of(self, message: Message) -> RowState:
        return RowState(self._states[self.place_of(message)])

    def at(self, partition: int, offset: int) -> RowState:
        return RowState(self._states[self._place(partition, offset)])

    def _place(self, partition: int, offset: int) -> int:
        return self._first[partition] + offset - self._start[partition]

    def set(self, place: int, state: RowState) -> None:
        """Note the state; a deletion stays one."""
        if self._states[place] != RowState.DELETION:
            self._states[place] = state


def read_row_versions(
    connection: KafkaConnection,
    group: str,
    reader: RecordReader,
    ranges: Sequence[OffsetRange],
    *,
    stopped: Callable[[], bool] = lambda: False,
) -> RowVersions:
    """Read the ranges for their rows.

    In a partition the last record of a row is the newest; of records in several partitions, the one with the latest
    timestamp. Meanwhile memory holds 9 bytes for each offset and about 140 for each row, or 250 where rows are named by
    an id that is not the record's key; names longer than 16 bytes are hashed.

    Args:
        ranges: one for each partition.
        stopped: polled between messages; True ends the reading early, and the states are incomplete.

    Raises:
        RangeUnavailable, LogTruncated, ReaderStalled: see `include.kafka.reader.read_ranges`.
    """
    rows = _Rows(RowVersions(ranges))
    for _, messages in read_ranges(connection, group, ranges, batch_size=READ_RECORDS, stopped=stopped):
        rows.add(messages, reader.read(messages).changes)
    if rows.ambiguous:
        log.warning(
            "%d deletions name a key that several rows have, and delete nothing: name the deleted row's id in "
            "envelope.deleted.id.",
            rows.ambiguous,
        )
    return rows.versions


class _Rows:
    """The newest record of each row, while the ranges are read one after the other."""

    def __init__(self, versions: RowVersions) -> None:
        self.versions = versions
        self.ambiguous = 0
        self._newest: dict[bytes, int] = {}
        self._timestamps = array("q", bytes(8 * len(versions)))
        # The id of each key's row, for deletions that have the key alone.
        self._ids: dict[bytes, bytes] = {}

    def add(self, messages: Sequence[Message], changes: Sequence[RowChange | None]) -> None:
        """Let each record replace what is known of its row, unless that is newer."""
        for message, change in zip(messages, changes, strict=True):
            if change is None:
                continue
            place = self.versions.place_of(message)
            self._timestamps[place] = message.timestamp()[1]
            if change.deleted:
                self.versions.set(place, RowState.DELETION)
            if (row := self._row(change)) == SEVERAL:
                self.ambiguous += 1
                continue
            known = self._newest.get(row, place)
            newer = known >= self.versions.first_place(message) or self._timestamps[known] <= self._timestamps[place]
            if known != place:
                self.versions.set(known if newer else place, RowState.SUPERSEDED)
            if newer:
                self._newest[row] = place

    def _row(self, change: RowChange) -> bytes:
        key = _short(change.key or b"")
        if change.row is None:
            return self._ids.get(key, key)
        row = _short(change.row)
        if key and key != row and self._ids.setdefault(key, row) != row:
            self._ids[key] = SEVERAL
        return row


def _short(name: bytes) -> bytes:
    return name if len(name) <= NAME_BYTES else hashlib.blake2b(name, digest_size=NAME_BYTES).digest()
