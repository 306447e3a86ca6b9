"""The feed: batches of tensors from the offset ranges of a manifest, with the log read ahead in a thread."""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from include.errors import PermanentError
from include.exactly_once.attempt import scoped_id
from include.feed.plan import batch_ends, epoch_blocks, window_order
from include.feed.window import Part, WindowReader, row_type
from include.given_split import GivenSide
from include.kafka.position import offset_of
from include.kafka.ranges import check_ranges
from include.kafka.reader import read_ranges
from include.kafka.records import Address
from include.reading.late import LateLabels, read_labels
from include.reading.layout import TopicLabels
from include.reading.records import NO_LABEL, LabelOrRefusal, RecordReader, record_reader
from include.reading.row_versions import RowVersions, State, read_row_versions
from include.refusal import Refusal
from include.targets.tasks import target_of

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf
    import torch
    from confluent_kafka import Message

    from include.codecs.base import Codec
    from include.feed.manifest import Manifest
    from include.kafka.connection import KafkaConnection
    from include.kafka.ranges import OffsetRange
    from include.targets.base import Target

    _Batch = tuple["_Position", np.ndarray[Any, Any], np.ndarray[Any, Any]]

Side = Literal["train", "held_out"]

READ_AHEAD_BATCHES = 8
# Few messages at a time and somewhat more for an array operation: see `_Records.take`. With 5,000 at a time the feed is
# three times slower.
READ_RECORDS = 128
SELECT_RECORDS = 512
EXAMPLES_KEPT = 5
KNOWN_LABELS = 8192


class WrongState(PermanentError):
    """A feed's saved position belongs to another manifest, batch size or window."""


@dataclass
class FeedReport:
    """What one epoch met: samples, those by label, refusals by reason, and the first few refusals in words.

    A sample may have several labels or none, so `samples` need not add up to `total`.

    Attributes:
        unlabelled: samples that nobody has labelled yet, where labels come late.
        superseded, deletions: records that are no row's state, where the topic holds versions of rows.
    """

    total: int = 0
    samples: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    unlabelled: int = 0
    superseded: int = 0
    deletions: int = 0
    examples: list[str] = field(default_factory=list)

    def refuse(self, refusal: Refusal, address: Address) -> None:
        self.refused[refusal.reason] += 1
        if len(self.examples) < EXAMPLES_KEPT:
            self.examples.append(f"{address}: {refusal}")


@dataclass(frozen=True)
class _Position:
    """A position in an epoch: the window, where it begins in the log, and how many batches of it were served."""

    epoch: int = 0
    window: int = 0
    block: int = 0
    offset: int = -1
    batch: int = 0


@dataclass(frozen=True, slots=True)
class _ParsedLabel:
    """A label as a target; an unknown target where the record is refused, or where its label may still arrive."""

    target: Any
    refusal: Refusal | None = None


class _LabelCache(dict[LabelOrRefusal, _ParsedLabel]):
    """Cache of parsed labels, cleared at KNOWN_LABELS entries so that unbounded labels cannot exhaust memory."""

    def __init__(self, target: Target, *, late: bool) -> None:
        super().__init__()
        self._target = target
        self._without = None if late else NO_LABEL

    def __missing__(self, label: LabelOrRefusal) -> _ParsedLabel:
        parsed = self._parse(label)
        if len(self) >= KNOWN_LABELS:
            self.clear()
        self[label] = parsed
        return parsed

    def _parse(self, label: LabelOrRefusal) -> _ParsedLabel:
        if label is None:
            return _ParsedLabel(self._target.unknown, self._without)
        target = label if isinstance(label, Refusal) else self._target.read(label)
        return _ParsedLabel(self._target.unknown, target) if isinstance(target, Refusal) else _ParsedLabel(target)


@dataclass
class _Records:
    """What the feed needs of some records of one block, in lists side by side."""

    block: int
    labels: list[_ParsedLabel] = field(default_factory=list)
    groups: list[bytes] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    splits: list[GivenSide | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.values)

    def take(
        self,
        messages: list[Message],
        reader: RecordReader,
        late: LateLabels | None,
        cache: _LabelCache,
        versions: RowVersions | None,
    ) -> None:
        """Take over what the messages hold and let go of them.

        Few at a time, for a message and its headers are four objects to Python's garbage collector: as long as they are
        fewer than its threshold it does nothing, while thousands are walked through, with all else in the process.
        """
        found = reader.read(messages)
        self.labels += [cache[label] for label in (found.labels if late is None else found.labelled(late.of))]
        self.groups += found.groups
        self.offsets += map(offset_of, messages)
        self.values += found.contents
        self.splits += found.splits
        if versions is not None:
            self.states += map(versions.of, messages)
        messages.clear()


class Feed:
    """An iterable of `(inputs, targets)`: float32 (batch, *input_shape) and int64 (batch,) tensors.

    The targets of a task other than classification are float32 (batch, labels); see include.targets.

    One iteration serves the rest of the current epoch. The order depends only on manifest, seed and epoch: every rank
    goes through the same global batches and serves its rows `rank::world_size` of each. Memory holds at most two
    windows of encoded records and a few decoded batches, whatever the length of the ranges; late labels are kept
    whole, see `include.reading.late.LateLabels`, and so is the state of each record where the topic holds versions of
    rows: the ranges are read once for these before the first batch, see `include.reading.row_versions`.

    A record that is no sample (wrong schema, no or unknown label, undecodable, or without a required signature) is
    counted in `report` and left out, so a batch may be smaller than `batch_size`. A last batch of one sample, which
    batch normalisation cannot learn from, is joined to the batch before it.

    Args:
        batch_size: samples of a global batch, over all ranks.
        window: samples that are shuffled together.
        side: the samples to train on, or those held out.
        shuffle: False serves the log's own order.

    Raises:
        InvalidSigningKeys: the manifest is of signed records and the connection has no keys.

    Raises, from iterating:
        TopicRecreated, RangeUnavailable, ReaderStalled: see include.kafka; before the first batch where possible.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        manifest: Manifest,
        codec: Codec,
        *,
        batch_size: int,
        window: int = 65_536,
        side: Side = "train",
        shuffle: bool = True,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} is not below world size {world_size}: ranks count from 0")
        self.connection = connection
        self.manifest = manifest
        self.codec = codec
        self.batch_size = batch_size
        # Whole batches only, so that a batch never spans two windows.
        self.window = max(window // batch_size, 1) * batch_size
        self.side = side
        self.shuffle = shuffle
        self.rank = rank
        self.world_size = world_size
        self.report = FeedReport()
        self._keys = connection.signing_keys(signed=manifest.signed)
        self._target = target_of(manifest.task, manifest.labels, separator=manifest.separator)
        self._rows = row_type(self._target)
        self._late: LateLabels | None = None
        self._versions: RowVersions | None = None
        self._position = _Position()

    @property
    def epoch(self) -> int:
        """The epoch that the next iteration serves, from 0."""
        return self._position.epoch

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch that was served."""
        position = self._position
        return {
            "manifest": self.manifest.digest,
            "batch_size": self.batch_size,
            "window_size": self.window,
            "epoch": position.epoch,
            "window": position.window,
            "block": position.block,
            "offset": position.offset,
            "batch": position.batch,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue after the batch that `state_dict` was taken after.

        Raises:
            WrongState: it was saved for another manifest, batch size or window.
        """
        for name, own in (
            ("manifest", self.manifest.digest),
            ("batch_size", self.batch_size),
            ("window_size", self.window),
        ):
            if state[name] != own:
                raise WrongState(
                    f"The saved feed position has {name} {state[name]!r} and this feed has {own!r}: resume with the "
                    "settings that the run began with, or start a new run."
                )
        self._position = _Position(
            *(int(state[name]) for name in ("epoch", "window", "block", "offset", "batch")),
        )

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        import torch

        with closing(self._arrays()) as batches:
            for inputs, targets in batches:
                yield torch.from_numpy(inputs), torch.from_numpy(targets)

    def as_tensorflow(self) -> tf.data.Dataset:
        """The same batches as a `tf.data.Dataset`, without torch: one pass over it is one iteration of the feed.

        So `repeat()` goes through the epochs, each in its own order. `report` and `state_dict()` describe what the data
        set has read, which with `prefetch` is ahead of what it has yielded.
        """
        import numpy as np
        import tensorflow as tf

        target = self._target
        signature = (
            tf.TensorSpec((None, *self.codec.input_shape), tf.float32),
            tf.TensorSpec((None, *target.shape), np.dtype(target.dtype)),
        )
        return tf.data.Dataset.from_generator(self._arrays, output_signature=signature)

    def _arrays(self) -> Generator[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]], None, None]:
        start = self._position
        self.report = FeedReport()
        batches: queue.SimpleQueue[_Batch | BaseException | None] = queue.SimpleQueue()
        # One token per batch: a bounded queue.Queue is written in Python and takes ten times as long.
        room: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(READ_AHEAD_BATCHES):
            room.put(None)
        stop = threading.Event()
        report = FeedReport()
        reader = threading.Thread(
            target=self._read_ahead, args=(start, batches, room, stop, report), name="feed-reader", daemon=True
        )
        reader.start()
        try:
            while True:
                item = batches.get()
                if item is None:
                    break
                if isinstance(item, BaseException):
                    raise item
                room.put(None)
                self._position, inputs, labels = item
                yield inputs, labels
            self.report = report
            self._position = _Position(epoch=start.epoch + 1)
        finally:
            stop.set()
            room.put(None)  # the reader may be waiting for room
            reader.join()

    def _read_ahead(
        self,
        start: _Position,
        batches: queue.SimpleQueue[_Batch | BaseException | None],
        room: queue.SimpleQueue[None],
        stop: threading.Event,
        report: FeedReport,
    ) -> None:
        """The reader thread: fetches, decodes and shuffles while the caller works on earlier batches."""
        try:
            for item in self._batches(start, stop, report):
                room.get()
                if stop.is_set():
                    return
                batches.put(item)
            batches.put(None)
        except BaseException as error:  # noqa: BLE001 - raised again by the consuming thread
            batches.put(error)

    def _batches(self, start: _Position, stop: threading.Event, report: FeedReport) -> Iterator[_Batch]:
        import numpy as np

        epoch = start.epoch
        blocks = epoch_blocks(
            self.manifest.ranges, window=self.window, seed=self.manifest.seed, epoch=epoch, shuffle=self.shuffle
        )
        check_ranges(self.connection, self.manifest.ranges)
        windows = WindowReader(self._selected(blocks, start, stop, report), self.codec, self.window, self._rows)
        served = np.zeros(len(self.manifest.labels), np.int64)
        number, skip = start.window, start.batch
        while (window := windows.take()) is not None and not stop.is_set():
            order = window_order(len(window), seed=self.manifest.seed, epoch=epoch, window=number, shuffle=self.shuffle)
            first = (int(window.rows["block"][0]), int(window.rows["offset"][0]))
            ends = batch_ends(len(window), self.batch_size)
            for batch in range(skip, len(ends)):
                rows = order[batch * self.batch_size : ends[batch]][self.rank :: self.world_size]
                decoded = window.decode(rows)
                for position, refusal in decoded.refusals.items():
                    row = window.rows[rows[position]]
                    report.refuse(refusal, _address(blocks[row["block"]], int(row["offset"])))
                labels = window.rows["label"][rows[decoded.positions]]
                served += self._target.counts(labels)
                report.total += len(labels)
                yield _Position(epoch, number, *first, batch + 1), self.codec.to_inputs(decoded.samples), labels
                windows.read_ahead((batch + 1) * self.batch_size)
            number, skip = number + 1, 0
        report.samples.update(
            {label: int(count) for label, count in zip(self.manifest.labels, served, strict=True) if count}
        )

    def _selected(
        self, blocks: list[OffsetRange], start: _Position, stop: threading.Event, report: FeedReport
    ) -> Iterator[Part]:
        """The labelled records of this side of the split from the position on, in the order of the log."""
        left = blocks[start.block :]
        if start.offset >= 0:
            left[0] = replace(left[0], start=start.offset)
        group = scoped_id(self.connection, self.manifest.pipeline, "feed")
        late = self._late_labels(group)
        cache = _LabelCache(self._target, late=late is not None)
        manifest, records = self.manifest, _Records(start.block)
        with record_reader(
            self.connection, manifest.reading, manifest.schema, keys=self._keys, split=manifest.split.given
        ) as reader:
            versions = self._row_versions(group, reader, stop)
            reading = read_ranges(self.connection, group, left, batch_size=READ_RECORDS, stopped=stop.is_set)
            for index, messages in reading:
                block = start.block + index
                if records.block != block or len(records) >= SELECT_RECORDS:
                    yield self._select(records, blocks, report)
                    records = _Records(block)
                records.take(messages, reader, late, cache, versions)
        if len(records):
            yield self._select(records, blocks, report)

    def _late_labels(self, group: str) -> LateLabels | None:
        """The labels from the labels topic, read once and kept."""
        labels = self.manifest.reading.labels
        if self._late is None and isinstance(labels, TopicLabels):
            self._late = read_labels(self.connection, f"{group}.labels", labels, self.manifest.label_ranges)
        return self._late

    def _row_versions(self, group: str, reader: RecordReader, stop: threading.Event) -> RowVersions | None:
        """Which records are the states of rows, read once and kept; None where the topic has no versions of rows."""
        if self._versions is None and reader.has_versions:
            versions = read_row_versions(
                self.connection, f"{group}.rows", reader, self.manifest.ranges, stopped=stop.is_set
            )
            if stop.is_set():
                return versions
            self._versions = versions
        return self._versions

    def _select(self, records: _Records, blocks: list[OffsetRange], report: FeedReport) -> Part:
        """The labelled records of this side of the split; its others are refused."""
        import numpy as np

        labels = np.array([label.target for label in records.labels], self._target.dtype)
        labels = labels.reshape(-1, *self._target.shape)
        known = self._target.known(labels)
        mine = self.manifest.split.sides(records.groups, records.splits) == (self.side == "held_out")
        if records.states:
            states = np.array(records.states)
            report.superseded += int((mine & (states == State.SUPERSEDED)).sum())
            report.deletions += int((mine & (states == State.DELETION)).sum())
            mine &= states == State.NEWEST
        for position in np.flatnonzero(mine & ~known).tolist():
            refusal = records.labels[position].refusal
            if refusal is None:
                report.unlabelled += 1
            else:
                report.refuse(refusal, _address(blocks[records.block], records.offsets[position]))
        kept = np.flatnonzero(mine & known)
        rows = np.empty(len(kept), self._rows)
        rows["label"] = labels[kept]
        rows["block"] = records.block
        rows["offset"] = np.array(records.offsets, np.int64)[kept]
        return Part([records.values[position] for position in kept.tolist()], rows)


def _address(block: OffsetRange, offset: int) -> Address:
    return Address(block.topic, block.partition, offset)
