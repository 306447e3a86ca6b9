"""The records of one side of a split, read from the log of the samples topic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Literal

from include.exactly_once.attempt import consumer_group
from include.feed.manifest import Manifest
from include.feed.selection import RecordOutcome, Selection, row_type
from include.given_split import GivenSide
from include.kafka.connection import KafkaConnection
from include.kafka.position import offset_of
from include.kafka.ranges import OffsetRange, check_ranges
from include.kafka.reader import read_ranges
from include.reading.late import LateLabels, read_labels
from include.reading.layout import TopicLabels
from include.reading.records import NO_LABEL, LabelOrRefusal, RecordReader, record_reader
from include.reading.row_versions import RowVersions, State, read_row_versions
from include.refusal import Refusal
from include.targets.base import Target

if TYPE_CHECKING:
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
    states: list[State] = field(default_factory=list)
    splits: list[GivenSide | None] = field(default_factory=list)
    size: int = 0

    def __len__(self) -> int:
        return len(self.values)

    @property
    def enough(self) -> bool:
        """Whether they are as many, or as large, as an array operation should have."""
        return len(self) >= SELECT_RECORDS or self.size >= SELECT_BYTES

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

    def read(self, blocks: list[OffsetRange], stopped: Callable[[], bool]) -> Iterator[Selection]:
        """The records of the side in the blocks; a block's last selection reaches its end, unless it is stopped."""
        if not blocks:
            return
        late = self._late_labels()
        parse = _label_parser(self._target, late=late is not None)
        manifest, records, number = self._manifest, _Records(blocks[0].start), 0
        with record_reader(
            self._connection, manifest.reading, manifest.schema, keys=self._keys, split=manifest.split.given
        ) as reader:
            versions = self._row_versions(reader, stopped)
            for index, messages in self._read_checked(blocks, stopped):
                while number < index:
                    yield self._select(records, blocks[number].end)
                    number += 1
                    records = _Records(blocks[number].start)
                if records.enough:
                    end = records.offsets[-1] + 1
                    yield self._select(records, end)
                    records = _Records(end)
                records.take(messages, reader, late, parse, versions)
        while not stopped() and number < len(blocks):
            yield self._select(records, blocks[number].end)
            number += 1
            records = _Records(blocks[min(number, len(blocks) - 1)].start)

    def _read_checked(
        self, blocks: list[OffsetRange], stopped: Callable[[], bool]
    ) -> Iterator[tuple[int, list[Message]]]:
        """The records of the blocks, after the manifest's ranges were checked beside the first fetch."""
        with ThreadPoolExecutor(1) as pool:
            check = pool.submit(check_ranges, self._connection, self._manifest.ranges)

            def ended() -> bool:
                return stopped() or (check.done() and check.exception() is not None)

            reading = read_ranges(self._connection, self._group, blocks, batch_size=READ_RECORDS, stopped=ended)
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

    def _select(self, records: _Records, end: int) -> Selection:
        """The records of this side of the split, which are all that there are up to offset `end`."""
        import numpy as np

        mine = np.flatnonzero(self._manifest.split.sides(records.groups, records.splits) == self._is_held_out)
        labels = np.array([label.target for label in records.labels], self._target.dtype)
        rows = np.zeros(len(mine), row_type(self._target))
        rows["label"] = labels.reshape(-1, *self._target.shape)[mine]
        rows["offset"] = np.array(records.offsets, np.int64)[mine]
        outcomes = rows["outcome"]
        outcomes[~self._target.known(rows["label"])] = RecordOutcome.REFUSED
        if records.states:
            states = np.array(records.states)[mine]
            outcomes[states == State.SUPERSEDED] = RecordOutcome.SUPERSEDED
            outcomes[states == State.DELETION] = RecordOutcome.DELETION
        refusals = {}
        for place in np.flatnonzero(outcomes == RecordOutcome.REFUSED).tolist():
            refusal = records.labels[mine[place]].refusal
            if refusal is None:
                outcomes[place] = RecordOutcome.UNLABELLED
            else:
                refusals[records.offsets[mine[place]]] = refusal
        samples = mine[outcomes == RecordOutcome.SAMPLE].tolist()
        values = [records.values[position] for position in samples]
        return Selection(records.start, end, rows, values, refusals)
