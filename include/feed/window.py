"""Windows of encoded samples, each gathered while the one before it is served."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

ROW = [("label", "i8"), ("block", "i8"), ("offset", "i8")]


@dataclass(frozen=True)
class Samples:
    """Encoded samples, and a row for each.

    Attributes:
        values: the records' values.
        rows: structured array of dtype `ROW`: index of the label, and the block and offset that the record came from.
    """

    values: list[bytes | None]
    rows: np.ndarray[Any, Any]

    def __len__(self) -> int:
        return len(self.values)


class WindowReader:
    """Gathers windows of `size` samples from a stream of parts; the last one may be smaller.

    Serving a window, call `read_ahead` for every batch: it moves the next window on as far as this one is served, so
    that only the first window of an epoch is waited for.
    """

    def __init__(self, parts: Iterator[Samples], size: int) -> None:
        self._parts = parts
        self._size = size
        self._gathered: list[Samples] = []
        self._count = 0

    def read_ahead(self, samples: int) -> None:
        """Read until the next window has so many samples, is whole, or the stream ends."""
        while self._count < min(samples, self._size) and (part := next(self._parts, None)) is not None:
            self._gathered.append(part)
            self._count += len(part)

    def take(self) -> Samples | None:
        """The next window, read to its end; None when nothing is left."""
        import numpy as np

        self.read_ahead(self._size)
        if not self._count:
            return None
        values = [value for part in self._gathered for value in part.values]
        rows = np.concatenate([part.rows for part in self._gathered])
        excess = Samples(values[self._size :], rows[self._size :])
        self._gathered, self._count = [excess], len(excess)
        return Samples(values[: self._size], rows[: self._size])
