"""The feed: batches of tensors from the offset ranges of a manifest, with the log read ahead in a thread."""

from __future__ import annotations

import queue
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from include.codecs import available_threads
from include.codecs.base import Codec
from include.errors import PermanentError
from include.feed.cache import BlockCache, CacheWriter, FeedCache, writing
from include.feed.manifest import Manifest
from include.feed.plan import batch_ends, epoch_blocks, window_order
from include.feed.selection import RecordOutcome, Selection, row_type
from include.feed.side import Side, SideReader
from include.feed.window import (
    Origins,
    Part,
    WindowBatch,
    WindowReader,
    decodes_early,
    sample_bytes,
    sample_type,
)
from include.kafka.connection import KafkaConnection
from include.kafka.ranges import OffsetRange
from include.kafka.records import Address
from include.refusal import Refusal
from include.targets.tasks import target_of

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf
    import torch

    _Batch = tuple["_Position", np.ndarray[Any, Any], np.ndarray[Any, Any], Sequence[Address], Iterable[int]]
    _Convert = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]
    _Begun = tuple["_Position", Origins | None, Callable[[], WindowBatch]]

READ_AHEAD_BATCHES = 8
# Batches that are begun before the result of one is waited for, so that no decoder is idle at a batch's end.
DECODE_AHEAD_BATCHES = 2
EXAMPLES_KEPT = 5


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


@dataclass
class _Epoch:
    """One iteration: where it starts, what it has met, and whether it has to end."""

    start: _Position
    report: FeedReport = field(default_factory=FeedReport)
    stop: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class _Addresses(Sequence[Address]):
    """The addresses of a batch's samples, each made when it is asked for.

    Attributes:
        blocks: of the epoch.
    """

    blocks: list[OffsetRange]
    origins: Origins

    def __len__(self) -> int:
        return len(self.origins.offsets)

    def __getitem__(self, place: Any) -> Any:
        return _address(self.blocks[self.origins.blocks[place]], int(self.origins.offsets[place]))


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
        cache: where blocks are kept that were read from the log, for later epochs and other feeds of the same side:
            they give the same batches, positions and report. What is in it is never read from the log, or checked to
            be there still.
        addressed: whether `addresses` and `groups` are wanted.

    Attributes:
        addresses: where the samples of the batch that was served last are in the log; empty unless `addressed`.
        groups: the CRC-32 of the group of each of them; empty unless `addressed`.

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
        cache: FeedCache | None = None,
        addressed: bool = False,
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
        self.addresses: Sequence[Address] = ()
        self.groups: Iterable[int] = ()
        self._addressed = addressed
        self._target = target_of(manifest.task, manifest.labels, separator=manifest.separator)
        self._log = SideReader(connection, manifest, self._target, side)
        self._cache = cache
        self._position = _Position()

    @cached_property
    def _row(self) -> np.dtype[Any]:
        return row_type(self._target)

    @cached_property
    def _decodes_early(self) -> bool:
        """Whether samples are decoded when they are read, and not when their batch is served."""
        size = sum(item.offsets for item in self.manifest.ranges) * sample_bytes(self.codec)
        fits = self._cache is not None and size <= self._cache.limit
        # A codec that counts what it decodes would miss the samples that a cache holds decoded.
        return decodes_early(self.codec, self.window, reused=fits and self.codec.counting() is None)

    @cached_property
    def _blocks(self) -> BlockCache | None:
        if self._cache is None:
            return None
        sample = (sample_type(self.codec), self.codec.sample_shape) if self._decodes_early else None
        depends_on = [self.side, self.window, self.codec.model_dump(mode="json"), self._decodes_early, self._row.descr]
        return self._cache.blocks(self.manifest, depends_on, self._row, sample)

    @cached_property
    def _windows(self) -> WindowReader:
        """Kept for all epochs, because new memory would cost a page fault every 4 KiB."""
        return WindowReader(self.codec, self.window, self._row, decoded=self._decodes_early)

    @property
    def epoch(self) -> int:
        """The epoch that the next iteration serves, from 0."""
        return self._position.epoch

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch that was served."""
        return {
            "manifest": self.manifest.digest,
            "batch_size": self.batch_size,
            "window_size": self.window,
            **asdict(self._position),
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
        self._position = _Position(*(int(state[part.name]) for part in fields(_Position)))

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return self._tensors(self.codec.to_inputs)

    def for_device(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The same batches before `Codec.on_device`, which makes inputs of them: those of images are uint8."""
        return self._tensors(self.codec.for_device)

    def _tensors(self, convert: _Convert) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        import torch

        with closing(self._arrays(convert)) as batches:
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
        return tf.data.Dataset.from_generator(lambda: self._arrays(self.codec.to_inputs), output_signature=signature)

    def _arrays(self, convert: _Convert) -> Generator[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]], None, None]:
        epoch = _Epoch(self._position)
        self.report = FeedReport()
        batches: queue.SimpleQueue[_Batch | BaseException | None] = queue.SimpleQueue()
        # One token per batch: a bounded queue.Queue is written in Python and takes ten times as long.
        room: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(READ_AHEAD_BATCHES):
            room.put(None)
        reader = threading.Thread(
            target=self._read_ahead, args=(epoch, convert, batches, room), name="feed-reader", daemon=True
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
                self._position, inputs, labels, self.addresses, self.groups = item
                yield inputs, labels
            self.report = epoch.report
            self._position = _Position(epoch=epoch.start.epoch + 1)
        finally:
            epoch.stop.set()
            room.put(None)  # the reader may be waiting for room
            reader.join()
            self._windows.clear()

    def _read_ahead(
        self,
        epoch: _Epoch,
        convert: _Convert,
        batches: queue.SimpleQueue[_Batch | BaseException | None],
        room: queue.SimpleQueue[None],
    ) -> None:
        """The reader thread: fetches, decodes and shuffles while the caller works on earlier batches."""
        try:
            for item in self._batches(epoch, convert):
                room.get()
                if epoch.stop.is_set():
                    return
                batches.put(item)
            batches.put(None)
        except BaseException as error:  # noqa: BLE001 - raised again by the consuming thread
            batches.put(error)

    def _batches(self, epoch: _Epoch, convert: _Convert) -> Iterator[_Batch]:
        with nullcontext() if self._blocks is None else writing(self._blocks) as writer:
            yield from self._served(epoch, convert, writer)

    def _served(self, epoch: _Epoch, convert: _Convert, writer: CacheWriter | None) -> Iterator[_Batch]:
        import numpy as np

        ranges, seed = self.manifest.ranges, self.manifest.seed
        blocks = epoch_blocks(ranges, window=self.window, seed=seed, epoch=epoch.start.epoch, shuffle=self.shuffle)
        report = epoch.report
        served = np.zeros(len(self.manifest.labels), np.int64)
        for position, origins, result in self._decoded_ahead(epoch, blocks, writer):
            batch = result()
            for (block, offset), refusal in batch.refusals.items():
                report.refuse(refusal, _address(blocks[block], offset))
            served += self._target.counts(batch.labels)
            report.total += len(batch.labels)
            addresses: Sequence[Address] = ()
            groups: Iterable[int] = ()
            if origins is not None:
                kept = origins.without(batch.refusals) if batch.refusals else origins
                addresses, groups = _Addresses(blocks, kept), kept.groups
            yield position, convert(batch.samples), batch.labels, addresses, groups
        report.samples.update(
            {label: int(count) for label, count in zip(self.manifest.labels, served, strict=True) if count}
        )

    def _decoded_ahead(self, epoch: _Epoch, blocks: list[OffsetRange], writer: CacheWriter | None) -> Iterator[_Begun]:
        """The batches in their order, while the next ones are being decoded."""
        ahead = 0 if self._decodes_early else DECODE_AHEAD_BATCHES
        coming: deque[_Begun] = deque()
        pool = ThreadPoolExecutor(available_threads(), thread_name_prefix="feed-decoder")
        try:
            for begun in self._begun(epoch, blocks, writer, pool):
                coming.append(begun)
                if len(coming) > ahead:
                    yield coming.popleft()
            yield from coming
        finally:
            pool.shutdown(cancel_futures=True)

    def _begun(
        self, epoch: _Epoch, blocks: list[OffsetRange], writer: CacheWriter | None, pool: ThreadPoolExecutor
    ) -> Iterator[_Begun]:
        """Each batch's position, and the function that waits for the batch."""
        start, seed = epoch.start, self.manifest.seed
        windows = self._windows
        windows.begin(self._parts(epoch, blocks, writer))
        number, skip = start.window, start.batch
        while (window := windows.take()) is not None and not epoch.stop.is_set():
            order = window_order(len(window), seed=seed, epoch=start.epoch, window=number, shuffle=self.shuffle)
            first = (int(window.rows["block"][0]), int(window.rows["offset"][0]))
            ends = batch_ends(len(window), self.batch_size)
            for batch in range(skip, len(ends)):
                rows = order[batch * self.batch_size : ends[batch]][self.rank :: self.world_size]
                origins = window.origins(rows) if self._addressed else None
                yield _Position(start.epoch, number, *first, batch + 1), origins, window.begin(rows, pool)
                windows.read_ahead((batch + 1) * self.batch_size)
            number, skip = number + 1, 0

    def _parts(self, epoch: _Epoch, blocks: list[OffsetRange], writer: CacheWriter | None) -> Iterator[Part]:
        """The samples of this side from the position on, in the order of the blocks."""
        start, report = epoch.start, epoch.report
        left = blocks[start.block :]
        cached = [self._blocks is not None and self._blocks.has(block) for block in left]
        # The first one may have been served in part.
        wanted = left[:]
        if start.offset >= 0:
            wanted[0] = replace(left[0], start=start.offset)
        log = self._from_log([part for part, found in zip(wanted, cached, strict=True) if not found], epoch)
        for number, (block, part) in enumerate(zip(left, wanted, strict=True), start.block):
            reached, rest = part.start, log
            if self._blocks is not None and cached[number - start.block]:
                for selection in self._blocks.read(block):
                    yield _counted(selection.since(part.start), report, number, block)
                    reached = max(reached, selection.end)
                rest = self._from_log([replace(block, start=reached)] if reached < block.end else [], epoch)
            for selection in rest:
                if writer is not None:
                    writer.add(block, selection)
                yield _counted(selection, report, number, block)
                if selection.end == block.end:
                    break

    def _from_log(self, blocks: list[OffsetRange], epoch: _Epoch) -> Iterator[Selection]:
        columns = self._decodes_early and self.codec.copies
        for selection in self._log.read(blocks, epoch.stop.is_set, columns=columns):
            yield selection.decoded(self.codec) if self._decodes_early else selection


def _counted(selection: Selection, report: FeedReport, number: int, block: OffsetRange) -> Part:
    """The samples of a selection of block `number`; its other records go into the report."""
    import numpy as np

    outcomes = selection.rows["outcome"]
    counts = np.bincount(outcomes, minlength=len(RecordOutcome)).tolist()
    report.unlabelled += counts[RecordOutcome.UNLABELLED]
    report.superseded += counts[RecordOutcome.SUPERSEDED]
    report.deletions += counts[RecordOutcome.DELETION]
    for offset in selection.rows["offset"][outcomes == RecordOutcome.REFUSED].tolist():
        report.refuse(selection.refusals[offset], _address(block, offset))
    rows = selection.rows[outcomes <= RecordOutcome.UNDECODABLE]
    rows["block"] = number
    return Part(selection.values, rows, {(number, offset): found for offset, found in selection.refusals.items()})


def _address(block: OffsetRange, offset: int) -> Address:
    return Address(block.topic, block.partition, offset)
