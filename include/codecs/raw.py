"""Arrays as their bare bytes, with dtype and shape fixed by the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from include.codecs._tensor import TensorCodec
from include.codecs.base import DecodedBatch, check_sample
from include.packed_values import PackedValues
from include.refusal import Refusal

if TYPE_CHECKING:
    import numpy as np


class RawCodec(TensorCodec):
    """C-ordered and little-endian."""

    kind: Literal["tensor.raw"] = "tensor.raw"

    @property
    def copies(self) -> bool:
        return True

    def encode(self, sample: np.ndarray[Any, Any]) -> bytes:
        check_sample(sample, self.shape, self.dtype)
        return sample.astype(self.wire_dtype, copy=False).tobytes()

    def decode(self, values: Sequence[bytes | None]) -> DecodedBatch:
        import numpy as np

        # Without the call for each value that other formats make: it would cost the feed more than the copying.
        size = self.sample_bytes
        if isinstance(values, PackedValues) and (rows := values.rows(size)) is not None:
            return self._finite(rows.view(self.wire_dtype), np.arange(len(values)), {})
        refusals: dict[int, Refusal] = {}
        whole: list[bytes] = []
        positions: list[int] = []
        for position, value in enumerate(values):
            if value is not None and len(value) == size:
                whole.append(value)
                positions.append(position)
            elif not value:
                refusals[position] = Refusal("empty", "The record has no value and an array was expected.")
            else:
                error = f"The record has {len(value)} bytes and {self._takes}."
                refusals[position] = Refusal("wrong-size", error)
        return self._decoded(whole, positions, refusals)
