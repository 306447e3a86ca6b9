"""Windows of samples: each is filled while the previous one is served."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.codecs.base import DecodedBatch
from include.refusal import Refusal

if TYPE_CHECKING:
    import numpy as np

    from include.codecs.base import Codec
    from include.targets.base import Target

LARGEST_ARRAY = 256 * 2**20


def row_type(target: Target) -> np.dtype[Any]:
    """The row of a sample: its label as a target, and the block and offset where it was read."""
    import numpy as np

    return np.dtype([("label", target.dtype, target.shape), ("block", "i8"), ("offset", "i8")])


@dataclass(frozen=True)
class Part:
    """Some encoded samples, and a row for each.

    Attributes:
        values: the records' values.
        rows: structured array of `row_type`.
    """

    values: Sequence[bytes | None]
    rows: np.ndarray[Any, Any]

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, part: slice) -> Part:
        return Part(self.values[part], self.rows[part])


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

    def add(self, part: Part) -> None:
        """Add samples; there must be room for them."""
        self._rows[self.count : self.count + len(part)] = part.rows
        self._take_in(part.values)
        self.count += len(part)

    def clear(self) -> None:
        """Remove all samples."""
        self._values.clear()
        self.count = 0

    def decode(self, positions: np.ndarray[Any, Any]) -> DecodedBatch:
        """The samples at `positions`, in that order, as the codec decodes a list of them."""
        return self._codec.decode([self._values[position] for position in positions.tolist()])

    def _take_in(self, values: Sequence[bytes | None]) -> None:
        self._values.extend(values)


class ArrayWindow(Window):
    """A window of decoded samples, for a codec that only copies bytes.

    Picking tens of thousands of small encoded values in shuffled order would cost the feed more time than all its other
    work: each is a cache miss, and so is the memory that the next records are read into.
    """

    def __init__(self, codec: Codec, size: int, row: np.dtype[Any]) -> None:
        import numpy as np

        super().__init__(codec, size, row)
        self._samples = np.empty((size, *codec.sample_shape), _sample_type(codec))
        self._refusals: dict[int, Refusal] = {}

    def clear(self) -> None:
        super().clear()
        self._refusals.clear()

    def decode(self, positions: np.ndarray[Any, Any]) -> DecodedBatch:
        import numpy as np

        samples = self._samples.take(positions, axis=0)
        if not self._refusals:
            return DecodedBatch(samples, np.arange(len(positions)))
        refusals = {
            place: self._refusals[position]
            for place, position in enumerate(positions.tolist())
            if position in self._refusals
        }
        good = np.ones(len(positions), bool)
        good[list(refusals)] = False
        return DecodedBatch(samples[good], np.flatnonzero(good), refusals)

    def _take_in(self, values: Sequence[bytes | None]) -> None:
        decoded = self._codec.decode(values)
        room = self._samples[self.count : self.count + len(values)]
        if decoded.refusals:
            room[decoded.positions] = decoded.samples
            self._refusals |= {self.count + position: refusal for position, refusal in decoded.refusals.items()}
        else:
            room[:] = decoded.samples


class WindowReader:
    """Collects windows of `size` samples from a stream of parts; the last one may be smaller.

    A last window of a single sample would make a batch of one, which batch normalisation cannot learn from: that sample
    joins the window before it, which then has one more than `size`.

    While a window is served, call `read_ahead` for every batch: it fills the next window as far as this one is served,
    so that the caller waits only for the first window of an epoch.
    """

    def __init__(self, parts: Iterator[Part], codec: Codec, size: int, row: np.dtype[Any]) -> None:
        self._parts = parts
        self._codec = codec
        self._size = size
        self._row = row
        small = size * _sample_bytes(codec) <= LARGEST_ARRAY
        self._kind = ArrayWindow if small and _only_copies(codec) else Window
        self._next = self._new_window()
        self._served: Window | None = None
        self._left: deque[Part] = deque()

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


def _only_copies(codec: Codec) -> bool:
    """Whether an encoded sample is the array's own bytes."""
    import numpy as np

    zeros = np.zeros(codec.sample_shape, _sample_type(codec))
    return codec.encode(zeros) == zeros.tobytes()


def _sample_type(codec: Codec) -> np.dtype[Any]:
    kind: np.dtype[Any] = codec.decode([]).samples.dtype
    return kind


def _sample_bytes(codec: Codec) -> int:
    import numpy as np

    return int(np.prod(codec.sample_shape)) * _sample_type(codec).itemsize
