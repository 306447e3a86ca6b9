"""The feed: batches of tensors from the offset ranges of a manifest, while the log is read ahead."""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from include.errors import PermanentError
from include.feed.plan import epoch_blocks, window_order
from include.kafka.ranges import check_ranges
from include.kafka.reader import read_range
from include.kafka.record import Address, read_headers

if TYPE_CHECKING:
    import numpy as np
    import torch
    from confluent_kafka import Message

    from include.codecs.base import Codec
    from include.feed.manifest import Manifest
    from include.kafka.connection import KafkaConnection

Side = Literal["train", "held_out"]
ReadHeaders = tuple[tuple[str, bytes | None], ...]

READ_AHEAD_BATCHES = 8
EXAMPLES_KEPT = 5


class WrongState(PermanentError):
    """A feed's saved position belongs to another manifest or another cut into batches."""


@dataclass
class FeedReport:
    """What one epoch met: samples by label, refusals by reason, and the first few refusals in words."""

    samples: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def refuse(self, reason: str, error: str, address: Address) -> None:
        self.refused[reason] += 1
        if len(self.examples) < EXAMPLES_KEPT:
            self.examples.append(f"{address}: {reason}: {error}")


@dataclass(frozen=True)
class _Position:
    """Where an epoch stands: the window, where it begins in the log, and the batches served from it."""

    epoch: int = 0
    window: int = 0
    block: int = 0
    offset: int = -1
    batch: int = 0


@dataclass
class _Window:
    """Raw records of up to `Feed.window` samples; they stay encoded until their batch is served."""

    values: list[bytes | None]
    labels: np.ndarray[Any, Any]
    blocks: np.ndarray[Any, Any]
    offsets: np.ndarray[Any, Any]

    def __len__(self) -> int:
        return len(self.values)


class Feed:
    """An iterable of `(inputs, labels)`: float32 (batch, *sample_shape) and int64 (batch,) tensors.

    One iteration serves what is left of the current epoch. The order depends on manifest, seed and epoch only: every
    rank walks the same global batches and serves its rows `rank::world_size` of each. Memory is bounded by two windows
    of encoded records and a few batches of decoded ones, whatever the length of the ranges.

    A record that is no sample (wrong schema, no or unknown label, undecodable) is counted in `report` and left out, so
    a batch may be smaller than `batch_size`.

    Args:
        batch_size: samples of a global batch, over all ranks.
        window: samples that are shuffled together.
        side: the samples to train on, or those held out.
        shuffle: False serves the log's own order.

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
        """Go on behind the batch that `state_dict` was taken after.

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
                    "settings that the run was begun with, or start a new run."
                )
        self._position = _Position(
            *(int(state[name]) for name in ("epoch", "window", "block", "offset", "batch")),
        )

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        import torch

        start = self._position
        self.report = FeedReport()
        batches: queue.Queue[tuple[_Position, np.ndarray[Any, Any], np.ndarray[Any, Any]] | BaseException | None] = (
            queue.Queue(READ_AHEAD_BATCHES)
        )
        stop = threading.Event()
        report = FeedReport()
        reader = threading.Thread(
            target=self._read_ahead, args=(start, batches, stop, report), name="feed-reader", daemon=True
        )
        reader.start()
        try:
            while True:
                item = batches.get()
                if item is None:
                    break
                if isinstance(item, BaseException):
                    raise item
                self._position, inputs, labels = item
                yield torch.from_numpy(inputs), torch.from_numpy(labels)
            self.report = report
            self._position = _Position(epoch=start.epoch + 1)
        finally:
            stop.set()
            while reader.is_alive():
                # A reader that waits for room in the queue sees `stop` only once there is some.
                while not batches.empty():
                    batches.get_nowait()
                reader.join(0.05)

    def _read_ahead(
        self, start: _Position, batches: queue.Queue[Any], stop: threading.Event, report: FeedReport
    ) -> None:
        """The reader thread: fetching, decoding and shuffling overlap with whoever consumes the batches."""
        try:
            for item in self._batches(start, stop, report):
                batches.put(item)
                if stop.is_set():
                    return
            batches.put(None)
        except BaseException as error:  # noqa: BLE001 - raised again by the consuming thread
            batches.put(error)

    def _batches(
        self, start: _Position, stop: threading.Event, report: FeedReport
    ) -> Iterator[tuple[_Position, np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
        epoch = start.epoch
        blocks = epoch_blocks(
            self.manifest.ranges, window=self.window, seed=self.manifest.seed, epoch=epoch, shuffle=self.shuffle
        )
        check_ranges(self.connection, self.manifest.ranges)
        skip = start.batch
        for number, window in enumerate(self._windows(blocks, start, stop, report), start.window):
            order = window_order(len(window), seed=self.manifest.seed, epoch=epoch, window=number, shuffle=self.shuffle)
            first = (int(window.blocks[0]), int(window.offsets[0]))
            for batch in range(skip, -(-len(window) // self.batch_size)):
                rows = order[batch * self.batch_size : (batch + 1) * self.batch_size][self.rank :: self.world_size]
                decoded = self.codec.decode([window.values[row] for row in rows])
                for refusal in decoded.refusals:
                    row = rows[refusal.position]
                    block = blocks[window.blocks[row]]
                    address = Address(block.topic, block.partition, int(window.offsets[row]))
                    report.refuse(refusal.reason, refusal.error, address)
                labels = window.labels[rows[decoded.positions]]
                for label, count in enumerate(self._count(labels)):
                    if count:
                        report.samples[self.manifest.labels[label]] += int(count)
                yield _Position(epoch, number, *first, batch + 1), self.codec.to_inputs(decoded.samples), labels
            skip = 0

    def _count(self, labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        import numpy as np

        return np.bincount(labels, minlength=len(self.manifest.labels))

    def _windows(
        self, blocks: list[Any], start: _Position, stop: threading.Event, report: FeedReport
    ) -> Iterator[_Window]:
        """Fill windows from the blocks, beginning where the position's window began."""
        import numpy as np

        open_window: list[_Window] = []
        filled = 0
        for part in self._selected(blocks, start, stop, report):
            taken = 0
            while filled + len(part) - taken >= self.window:
                cut = taken + self.window - filled
                open_window.append(_slice(part, taken, cut))
                yield _join(open_window, np)
                open_window, filled, taken = [], 0, cut
            if taken < len(part):
                open_window.append(_slice(part, taken, len(part)))
                filled += len(part) - taken
        if filled and not stop.is_set():
            yield _join(open_window, np)

    def _selected(
        self, blocks: list[Any], start: _Position, stop: threading.Event, report: FeedReport
    ) -> Iterator[_Window]:
        """The labelled records of this side of the split, as they come from the log."""
        from dataclasses import replace

        with ExitStack() as stack:
            consumer = stack.enter_context(
                self.connection.consumer(f"{self.connection.environment}.{self.manifest.pipeline}.feed")
            )
            for index in range(start.block, len(blocks)):
                block = blocks[index]
                if index == start.block and start.offset >= 0:
                    block = replace(block, start=start.offset)
                for messages in read_range(self.connection, consumer, block, batch_size=5000, stopped=stop.is_set):
                    yield self._select(messages, index, report)
                if stop.is_set():
                    return

    def _select(self, messages: list[Message], block: int, report: FeedReport) -> _Window:
        """Labels and split for a list of records, with one Python call or two a record and arrays for the rest."""
        import numpy as np

        heads = [self._classify(tuple(message.headers() or ())) for message in messages]
        labels = np.fromiter([head[0] for head in heads], np.int64, len(heads))
        offsets = np.fromiter([message.offset() for message in messages], np.int64, len(messages))
        groups = [
            head[1] or message.key() or f"{message.partition()}/{message.offset()}".encode()
            for head, message in zip(heads, messages, strict=True)
        ]
        mine = self.manifest.split.is_held_out(groups) == (self.side == "held_out")
        for row in np.flatnonzero(mine & (labels < 0)):
            message = messages[row]
            reason, error = heads[row][2]
            report.refuse(reason, error, Address(message.topic() or "", message.partition() or 0, int(offsets[row])))
        kept = np.flatnonzero(mine & (labels >= 0))
        return _Window(
            values=[messages[row].value() for row in kept],
            labels=labels[kept],
            blocks=np.full(len(kept), block, np.int64),
            offsets=offsets[kept],
        )

    @lru_cache(maxsize=8192)  # noqa: B019 - a feed lives as long as its process
    def _classify(self, headers: ReadHeaders) -> tuple[int, bytes | None, tuple[str, str]]:
        """The label's index (-1 for none), the group, and the reason for a -1."""
        head = read_headers(headers)
        if head.schema != self.manifest.schema:
            return -1, head.group, ("wrong-schema", f"schema {head.schema!r} is not {self.manifest.schema!r}")
        if head.label is None:
            return -1, head.group, ("no-label", "the record has no label header")
        if head.label not in self.manifest.labels:
            return -1, head.group, ("unknown-label", f"label {head.label!r} is not one of the pipeline's")
        return self.manifest.labels.index(head.label), head.group, ("", "")


def _slice(part: _Window, start: int, end: int) -> _Window:
    return _Window(part.values[start:end], part.labels[start:end], part.blocks[start:end], part.offsets[start:end])


def _join(parts: list[_Window], np: Any) -> _Window:
    return _Window(
        values=[value for part in parts for value in part.values],
        labels=np.concatenate([part.labels for part in parts]),
        blocks=np.concatenate([part.blocks for part in parts]),
        offsets=np.concatenate([part.offsets for part in parts]),
    )
