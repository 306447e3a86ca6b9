"""Windows of samples: each is filled while the previous one is served."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from include.codecs.base import Codec
from include.feed.selection import RecordOutcome
from include.refusal import Refusal

if TYPE_CHECKING:
    import numpy as np


MAX_ARRAY_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Part:
    """Some samples, and a row for each.

    Attributes:
        values: the records' values, or for an `ArrayWindow` an array of the decoded samples.
        rows: structured array of `include.feed.selection.row_type`.
        refusals: of undecodable samples in an array, by block and offset; also of other parts.
    """

    values: Sequence[bytes | None] | np.ndarray[Any, Any]
    rows: np.ndarray[Any, Any]
    refusals: Mapping[tuple[int, int], Refusal] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, part: slice) -> Part:
        return Part(self.values[part], self.rows[part], self.refusals)


class Origins(NamedTuple):
    """Where the samples of a batch come from, int64 of shape (n,) each.

    Attributes:
        blocks: the number of each sample's block.
        groups: the CRC-32 of each sample's group.
    """

    blocks: np.ndarray[Any, Any]
    offsets: np.ndarray[Any, Any]
    groups: np.ndarray[Any, Any]

    def without(self, places: Collection[tuple[int, int]]) -> Origins:
        """Those of the samples that are not at these blocks and offsets."""
        import numpy as np

        pairs = zip(self.blocks.tolist(), self.offsets.tolist(), strict=True)
        kept = np.array([pair not in places for pair in pairs], bool)
        return Origins(*(numbers[kept] for numbers in self))


@dataclass(frozen=True)
class WindowBatch:
    """Some samples of a window, decoded.

    Attributes:
        samples, labels: of those that could be decoded.
        refusals: of the others, by block and offset.
    """

    samples: np.ndarray[Any, Any]
    labels: np.ndarray[Any, Any]
    refusals: Mapping[tuple[int, int], Refusal] = field(default_factory=dict)


class Window:
    """Samples that are shuffled together; they stay encoded until their batch is served."""

    def __init__(self, codec: Codec, size: int, row: np.dtype[Any]) -> None:
        import numpy as np

        self._codec = codec
        self._values: list[bytes | None] = []
        self._rows = np.empty(size, row)
        self.count = 0

    def __len__(self) -> int:
        return self.count

    @property
    def rows(self) -> np.ndarray[Any, Any]:
        """A row of `row_type` for each sample."""
        return self._rows[: self.count]

    def origins(self, positions: np.ndarray[Any, Any]) -> Origins:
        """Where the samples at `positions` come from."""
        return Origins(*(self._rows[name][positions] for name in ("block", "offset", "group")))

    def add(self, part: Part) -> None:
        """Add samples; there must be room for them."""
        self._rows[self.count : self.count + len(part)] = part.rows
        self._take_in(part)
        self.count += len(part)

    def clear(self) -> None:
        self._values.clear()
        self.count = 0

    def begin(self, positions: np.ndarray[Any, Any], pool: ThreadPoolExecutor) -> Callable[[], WindowBatch]:
        """Begin to decode the samples at `positions`, in the pool where that is worth it; the result is in their order.

        The window may be used again before it is asked for.
        """
        rows = self.rows[positions]
        decoding = self._codec.decode_ahead([self._values[position] for position in positions.tolist()], pool)

        def result() -> WindowBatch:
            decoded = decoding()
            refusals = {_place(rows[position]): refusal for position, refusal in decoded.refusals.items()}
            return WindowBatch(decoded.samples, rows["label"][decoded.positions], refusals)

        return result

    def _take_in(self, part: Part) -> None:
        self._values.extend(part.values)


class ArrayWindow(Window):
    """A window of decoded samples.

    Picking tens of thousands of small encoded values in shuffled order would cost the feed more time than all its other
    work: each is a cache miss, and so is the memory that the next records are read into.
    """

    def __init__(self, codec: Codec, size: int, row: np.dtype[Any]) -> None:
        import numpy as np

        super().__init__(codec, size, row)
        self._samples = np.empty((size, *codec.sample_shape), sample_type(codec))
        self._refusals: dict[tuple[int, int], Refusal] = {}

    def clear(self) -> None:
        super().clear()
        self._refusals.clear()

    def begin(
        self,
        positions: np.ndarray[Any, Any],
        pool: ThreadPoolExecutor,  # noqa: ARG002 - nothing is left to decode
    ) -> Callable[[], WindowBatch]:
        samples, labels = self._samples.take(positions, axis=0), self._rows["label"][positions]
        # Of one field alone, because picking whole rows takes as long as picking samples.
        good = self._rows["outcome"][positions] == RecordOutcome.SAMPLE
        if good.all():
            return lambda: WindowBatch(samples, labels)
        refusals = {place: self._refusals[place] for place in map(_place, self._rows[positions[~good]])}
        return lambda: WindowBatch(samples[good], labels[good], refusals)

    def _take_in(self, part: Part) -> None:
        self._samples[self.count : self.count + len(part)] = part.values
        self._refusals |= part.refusals


class WindowReader:
    """Collects windows of `size` samples from the stream of parts that `begin` gives it; the last may be smaller.

    A last window of a single sample would make a batch of one, which batch normalisation cannot learn from: that sample
    joins the window before it, which then has one more than `size`.

    While a window is served, call `read_ahead` for every batch: it fills the next window as far as this one is served,
    so that the caller waits only for the first window of an epoch.

    Args:
        decoded: whether the parts' values are, see `decodes_early`.
    """

    def __init__(self, codec: Codec, size: int, row: np.dtype[Any], *, decoded: bool) -> None:
        self._parts: Iterator[Part] = iter(())
        self._codec = codec
        self._size = size
        self._row = row
        self._kind = ArrayWindow if decoded else Window
        self._next = self._new_window()
        self._served: Window | None = None
        self._left: deque[Part] = deque()

    def begin(self, parts: Iterator[Part]) -> None:
        """Read another stream; the memory of the windows is used again, see `take`."""
        self.clear()
        self._parts = parts

    def clear(self) -> None:
        """Let go of all samples."""
        self._left.clear()
        for window in filter(None, (self._next, self._served)):
            window.clear()

    def read_ahead(self, samples: int) -> None:
        """Read until the next window has this many samples, is full, or the stream ends."""
        window = self._next
        while len(window) < min(samples, self._size) and (part := self._next_part()) is not None:
            room = self._size - len(window)
            window.add(part[:room])
            if len(part) > room:
                self._left.appendleft(part[room:])

    def take(self) -> Window | None:
        """The next window, complete; None when nothing is left.

        It is valid until the next call: two windows are used in turn, because the page faults of newly allocated memory
        would cost as much as all the copying.
        """
        self.read_ahead(self._size)
        if len(self._next) == self._size:
            self._join_a_last_sample()
        window, free = self._next, self._served
        self._next = self._new_window() if free is None else free
        self._next.clear()
        self._served = window
        return window if len(window) else None

    def _new_window(self) -> Window:
        return self._kind(self._codec, self._size + 1, self._row)

    def _next_part(self) -> Part | None:
        """The next part that has samples: those of a block may all be on the other side of the split."""
        return self._left.popleft() if self._left else next(filter(len, self._parts), None)

    def _join_a_last_sample(self) -> None:
        """Add the next sample to the full window if it is the last of the stream."""
        part = self._next_part()
        following = self._next_part() if part is not None and len(part) == 1 else None
        if part is not None and len(part) == 1 and following is None:
            self._next.add(part)
        else:
            self._left.extendleft(item for item in (following, part) if item is not None)


def _place(row: np.void) -> tuple[int, int]:
    """Block and offset of a row."""
    return int(row["block"]), int(row["offset"])


def decodes_early(codec: Codec, size: int, *, reused: bool) -> bool:
    """Whether samples are decoded before they enter a window of `size` and not when they are served.

    They are if the window's array is small enough, and decoding is mere copying or its results are used again.
    """
    if size * sample_bytes(codec) > MAX_ARRAY_BYTES:
        return False
    return codec.copies or reused


def sample_bytes(codec: Codec) -> int:
    """Bytes of a decoded sample."""
    import numpy as np

    return int(np.prod(codec.sample_shape)) * sample_type(codec).itemsize


def sample_type(codec: Codec) -> np.dtype[Any]:
    """Dtype of a decoded sample."""
    kind: np.dtype[Any] = codec.decode([]).samples.dtype
    return kind
