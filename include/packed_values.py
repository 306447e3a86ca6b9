"""The values of many records in one array."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    import numpy as np


class PackedValues(Sequence[bytes | None]):
    """A sequence of values that lie one behind the other.

    Args:
        content: uint8 array of shape (bytes,).
        sizes: int64 array of shape (n,): the bytes of each value, -1 for a record without one.
    """

    def __init__(self, content: np.ndarray[Any, Any], sizes: np.ndarray[Any, Any]) -> None:
        self._content = content
        self._sizes = sizes

    def __len__(self) -> int:
        return len(self._sizes)

    @overload
    def __getitem__(self, place: int) -> bytes | None: ...
    @overload
    def __getitem__(self, place: slice) -> list[bytes | None]: ...
    def __getitem__(self, place: int | slice) -> bytes | list[bytes | None] | None:
        return self._list[place]

    @cached_property
    def _list(self) -> list[bytes | None]:
        content = self._content.tobytes()
        ends = self.sizes.cumsum().tolist()
        absent = (self._sizes < 0).tolist()
        return [None if none else content[a:b] for (a, b), none in zip(pairwise([0, *ends]), absent, strict=True)]

    @property
    def sizes(self) -> np.ndarray[Any, Any]:
        """int64 array of shape (n,): the bytes of each value, 0 for a record without one."""
        import numpy as np

        sizes: np.ndarray[Any, Any] = np.maximum(self._sizes, 0)
        return sizes

    def part(self, start: int, end: int) -> PackedValues:
        """The values between two places."""
        sizes = self.sizes
        first = int(sizes[:start].sum())
        return PackedValues(self._content[first : first + int(sizes[start:end].sum())], self._sizes[start:end])

    @classmethod
    def joined(cls, parts: Sequence[PackedValues]) -> PackedValues:
        """The values of several."""
        import numpy as np

        return cls(np.concatenate([part._content for part in parts]), np.concatenate([part._sizes for part in parts]))

    def rows(self, size: int) -> np.ndarray[Any, Any] | None:
        """A uint8 array of shape (n, size) if each value has this size."""
        return self._content.reshape(-1, size) if (self._sizes == size).all() else None

    def take(self, places: np.ndarray[Any, Any]) -> Sequence[bytes | None]:
        """The values at these places, which ascend; packed where all have one size."""
        if len(places) == len(self):
            return self
        size = int(self._sizes[0])
        rows = self.rows(size) if size > 0 else None
        if rows is None:
            return [self._list[place] for place in places.tolist()]
        return PackedValues(rows[places].reshape(-1), self._sizes[places])
