"""The records of one side of a split, read from the log of the samples topic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from zlib import crc32

from include.exactly_once.attempt import consumer_group
from include.feed.manifest import Manifest
from include.feed.selection import RecordOutcome, Selection, row_type
from include.feed.split import group_crcs
from include.given_split import GivenSide
from include.kafka.columns import Columns
from include.kafka.connection import KafkaConnection
from include.kafka.position import offset_of
from include.kafka.ranges import OffsetRange, check_ranges
from include.kafka.reader import read_columns, read_ranges
from include.kafka.records import Address
from include.reading.late import LateLabels, read_labels
from include.reading.layout import TopicLabels
from include.reading.records import NO_LABEL, LabelOrRefusal, ParsedHeaders, RecordReader, record_reader
from include.reading.row_versions import RowState, RowVersions, read_row_versions
from include.refusal import Refusal
from include.targets.base import Target

if TYPE_CHECKING:
    import numpy as np
    from confluent_kafka import Message

Side = Literal["train", "held_out"]

# Few messages at a time and somewhat more for an array operation: see `_Records.take`. With 5,000 at a time the feed is
# three times slower.
READ_RECORDS = 128
# Fewer of large records, because these are in memory beside the windows.
SELECT_RECORDS, SELECT_BYTES = 512, 16 * 2**20
KNOWN_LABELS = 8192


@dataclass(frozen=True, slots=True)
class _ParsedLabel:
    """A label as a target; an unknown target where the record is refused, or where its label may still arrive."""

    target: Any
    refusal: Refusal | None = None


def _label_parser(target: Target, *, late: bool) -> Callable[[LabelOrRefusal], _ParsedLabel]:
    """The parser of a feed's labels, which remembers as many as can't exhaust the memory."""
    unlabelled = _ParsedLabel(target.unknown, None if late else NO_LABEL)

    @lru_cache(KNOWN_LABELS)
    def parse(label: LabelOrRefusal) -> _ParsedLabel:
        if label is None:
            return unlabelled
        found = label if isinstance(label, Refusal) else target.read(label)
        return _ParsedLabel(target.unknown, found) if isinstance(found, Refusal) else _ParsedLabel(found)

    return parse


@dataclass
class _Records:
    """What the feed needs of some records of one block, in lists side by side."""

    start: int
    labels: list[_ParsedLabel] = field(default_factory=list)
    groups: list[bytes] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)
    states: list[RowState] = field(default_factory=list)
    splits: list[GivenSide | None] = field(default_factory=list)
    size: int = 0

    def __len__(self) -> int:
        return len(self.values)

    @property
    def enough(self) -> bool:
        """Whether they are as many, or as large, as an array operation should have."""
        return len(self) >= SELECT_RECORDS or self.size >= SELECT_BYTES

    @property
    def end(self) -> int:
        """The offset behind the last one."""
        return self.offsets[-1] + 1

    def take(
        self,
        messages: list[Message],
        reader: RecordReader,
        late: LateLabels | None,
        parse: Callable[[LabelOrRefusal], _ParsedLabel],
        versions: RowVersions | None,
    ) -> None:
        """Take over what the messages hold and let go of them.

        Few at a time, for a message and its headers are four objects to Python's garbage collector: as long as they are
        fewer than its threshold it does nothing, while thousands are walked through, with all else in the process.
        """
        found = reader.read(messages)
        self.labels += map(parse, found.labels if late is None else found.labelled(late.of))
        self.groups += found.groups
        self.offsets += map(offset_of, messages)
        self.values += found.contents
        self.size += sum(map(len, filter(None, found.contents)))
        self.splits += found.splits
        if versions is not None:
            self.states += map(versions.of, messages)
        messages.clear()


@dataclass(frozen=True)
class _RecordColumns:
    """The same as columns: what depends on headers alone is found once for each distinct set of them.

    Attributes:
        block: from which the records are.
        headers, labels: by the number of a set.
    """

    start: int
    block: OffsetRange
    columns: Columns
    headers: list[ParsedHeaders]
    labels: list[_ParsedLabel]

    enough: ClassVar[bool] = True

    @classmethod
    def of(
        cls,
        columns: Columns,
        start: int,
        block: OffsetRange,
        reader: RecordReader,
        parse: Callable[[LabelOrRefusal], _ParsedLabel],
    ) -> _RecordColumns:
        headers = list(map(reader.parse_headers, columns.header_sets))
        return cls(start, block, columns, headers, [parse(found.label) for found in headers])

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def end(self) -> int:
        return int(self.columns.offsets[-1]) + 1

    def group_crcs(self) -> np.ndarray[Any, Any]:
        """The CRC-32 of each record's group: that of the headers, the key, or the address."""
        import numpy as np

        columns, groups = self.columns, [found.group for found in self.headers]
        given = np.array([bool(group) for group in groups])[columns.headers]
        crcs = np.array([crc32(group or b"") for group in groups], np.uint32)[columns.headers]
        hashes = np.where(given, crcs, columns.key_hashes)
        for place in np.flatnonzero((columns.keys.sizes == 0) & ~given).tolist():
            address = Address(self.block.topic, self.block.partition, int(columns.offsets[place]))
            hashes[place] = crc32(str(address).encode())
        return hashes


class SideReader:
    """Reads blocks of the samples topic as selections of one side.

    Late labels, and the states of records where the topic holds versions of rows, are read once and kept.

    Raises:
        InvalidSigningKeys: the manifest is of signed records and the connection has no keys.
    """

    def __init__(self, connection: KafkaConnection, manifest: Manifest, target: Target, side: Side) -> None:
        self._connection = connection
        self._manifest = manifest
        self._target = target
        self._is_held_out = side == "held_out"
        self._keys = connection.signing_keys(signed=manifest.signed)
        self._group = consumer_group(connection.environment, manifest.pipeline, "feed")
        self._late: LateLabels | None = None
        self._versions: RowVersions | None = None

    def read(
        self, blocks: list[OffsetRange], stopped: Callable[[], bool], *, columns: bool = False
    ) -> Iterator[Selection]:
        """The records of the side in the blocks; a block's last selection reaches its end, unless it is stopped.

        Args:
            columns: read the records as columns where that is possible. The selections are the same, but for where one
                ends and the next begins.
        """
        if not blocks:
            return
        late = self._late_labels()
        parse = _label_parser(self._target, late=late is not None)
        manifest, number = self._manifest, 0
        records: _Records | _RecordColumns = _Records(blocks[0].start)
        with record_reader(
            self._connection, manifest.reading, manifest.schema, keys=self._keys, split=manifest.split.given
        ) as reader:
            versions = self._row_versions(reader, stopped)
            columns = columns and reader.reads_columns and late is None
            for index, found in self._read_checked(blocks, stopped, columns=columns):
                while number < index:
                    yield self._select(records, blocks[number].end)
                    number += 1
                    records = _Records(blocks[number].start)
                if records.enough:
                    yield self._select(records, records.end)
                    records = _Records(records.end)
                if isinstance(found, Columns):
                    records = _RecordColumns.of(found, records.start, blocks[number], reader, parse)
                elif isinstance(records, _Records):
                    records.take(found, reader, late, parse, versions)
        while not stopped() and number < len(blocks):
            yield self._select(records, blocks[number].end)
            number += 1
            records = _Records(blocks[min(number, len(blocks) - 1)].start)

    def _read_checked(
        self, blocks: list[OffsetRange], stopped: Callable[[], bool], *, columns: bool
    ) -> Iterator[tuple[int, list[Message] | Columns]]:
        """The records of the blocks, after the manifest's ranges were checked beside the first fetch."""
        with ThreadPoolExecutor(1) as pool:
            check = pool.submit(check_ranges, self._connection, self._manifest.ranges)

            def ended() -> bool:
                return stopped() or (check.done() and check.exception() is not None)

            read = read_columns if columns else read_ranges
            reading = read(self._connection, self._group, blocks, batch_size=READ_RECORDS, stopped=ended)
            try:
                first = list(islice(reading, 1))
            finally:
                # Where ranges are gone, the error of the check explains more than that of the reading.
                check.result()
        yield from chain(first, reading)

    def _late_labels(self) -> LateLabels | None:
        """The labels from the labels topic, read once and kept."""
        labels = self._manifest.reading.labels
        if self._late is None and isinstance(labels, TopicLabels):
            self._late = read_labels(self._connection, f"{self._group}.labels", labels, self._manifest.label_ranges)
        return self._late

    def _row_versions(self, reader: RecordReader, stopped: Callable[[], bool]) -> RowVersions | None:
        """Which records are the states of rows, read once and kept; None where the topic has no versions of rows."""
        if self._versions is None and reader.has_versions:
            check_ranges(self._connection, self._manifest.ranges)
            versions = read_row_versions(
                self._connection, f"{self._group}.rows", reader, self._manifest.ranges, stopped=stopped
            )
            if stopped():
                return versions
            self._versions = versions
        return self._versions

    def _select(self, records: _Records | _RecordColumns, end: int) -> Selection:
        """The records of this side of the split, which are all that there are up to offset `end`."""
        import numpy as np

        limits, split = (records.start, end), self._manifest.split
        shape, dtype = self._target.shape, self._target.dtype
        targets = np.array([label.target for label in records.labels], dtype).reshape(-1, *shape)
        if isinstance(records, _RecordColumns):
            labels, columns, crcs = records.labels, records.columns, records.group_crcs()
            return self._selected(
                limits,
                split.sides(crcs, [found.split for found in records.headers])[columns.headers]
                if split.given
                else split.is_hash_held_out(crcs),
                crcs,
                columns.offsets,
                targets[columns.headers],
                lambda place: labels[columns.headers[place]].refusal,
                columns.values.take,
            )
        crcs = group_crcs(records.groups)
        return self._selected(
            limits,
            split.sides(crcs, records.splits),
            crcs,
            np.array(records.offsets, np.int64),
            targets,
            lambda place: records.labels[place].refusal,
            lambda places: [records.values[place] for place in places.tolist()],
            np.array(records.states),
        )

    def _selected(
        self,
        limits: tuple[int, int],
        held_out: np.ndarray[Any, Any],
        crcs: np.ndarray[Any, Any],
        offsets: np.ndarray[Any, Any],
        labels: np.ndarray[Any, Any],
        refusal_of: Callable[[int], Refusal | None],
        values_of: Callable[[np.ndarray[Any, Any]], Sequence[bytes | None]],
        states: np.ndarray[Any, Any] | None = None,
    ) -> Selection:
        """The selection of this side's records.

        Args:
            limits: the offsets of which these are all records.
            held_out, crcs, offsets, labels, states: of each record; see `row_type`, `Selection` and `RowState`.
            refusal_of, values_of: for the places of records.
        """
        import numpy as np

        mine = np.flatnonzero(held_out == self._is_held_out)
        rows = np.zeros(len(mine), row_type(self._target))
        rows["label"] = labels[mine]
        rows["offset"] = offsets[mine]
        rows["group"] = crcs[mine]
        outcomes = rows["outcome"]
        outcomes[~self._target.known(rows["label"])] = RecordOutcome.REFUSED
        if states is not None and len(states):
            outcomes[states[mine] == RowState.SUPERSEDED] = RecordOutcome.SUPERSEDED
            outcomes[states[mine] == RowState.DELETION] = RecordOutcome.DELETION
        refusals = {}
        for place in np.flatnonzero(outcomes == RecordOutcome.REFUSED).tolist():
            refusal = refusal_of(mine[place])
            if refusal is None:
                outcomes[place] = RecordOutcome.UNLABELLED
            else:
                refusals[int(rows["offset"][place])] = refusal
        return Selection(*limits, rows, values_of(mine[outcomes == RecordOutcome.SAMPLE]), refusals)
