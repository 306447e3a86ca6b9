"""Base of the array formats: one dtype and shape, and numbers that fit into a network's float32 inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator

from include.codecs.base import Codec, DecodedBatch
from include.refusal import Refusal

if TYPE_CHECKING:
    import numpy as np

# No topic accepts larger records. Without a limit, a typing error in a shape would allocate more than any machine has.
MAX_NUMBERS = 64 * 2**20

NOT_FINITE = Refusal("not-finite", "The array holds NaN, infinity or a number beyond float32 inputs.")


class TensorCodec(Codec):
    """Arrays of one `dtype` and `shape`; inputs are `samples * scale` in float32.

    Args:
        channels_last: samples are (height, width, channels), and inputs (channels, height, width).
    """

    shape: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1, max_length=32)]
    dtype: Literal["uint8", "int16", "int32", "float32", "float64"] = "uint8"
    # Within these limits no integer becomes an infinity.
    scale: Annotated[float, Field(ge=-1e20, le=1e20)] = 1.0

    # Excluded where it is the default, so that models trained before it existed keep their digest.
    channels_last: Annotated[bool, Field(exclude_if=lambda last: not last)] = False

    @field_validator("shape")
    @classmethod
    def _fits_a_record(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if math.prod(value) > MAX_NUMBERS:
            raise ValueError(f"a shape has at most {MAX_NUMBERS} numbers, since no record is larger")
        return value

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return self.shape

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.shape[-1], *self.shape[:-1]) if self.channels_last else self.shape

    @property
    def wire_dtype(self) -> np.dtype[Any]:
        """The dtype as records hold it: little-endian."""
        import numpy as np

        return np.dtype(self.dtype).newbyteorder("<")

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample's numbers."""
        return self.wire_dtype.itemsize * math.prod(self.shape)

    def to_inputs(self, samples: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        import numpy as np

        inputs = np.empty(samples.shape, np.float32)
        # In two steps, because multiplying while converting takes longer.
        with np.errstate(over="ignore", invalid="ignore"):
            np.copyto(inputs, samples, casting="unsafe")
            inputs *= np.float32(self.scale)
        return np.ascontiguousarray(np.moveaxis(inputs, -1, 1)) if self.channels_last else inputs

    @property
    def _takes(self) -> str:
        return f"{self.dtype} of shape {self.shape} takes {self.sample_bytes}"

    def _decoded(
        self, whole: Sequence[bytes | memoryview], positions: Sequence[int], refusals: dict[int, Refusal]
    ) -> DecodedBatch:
        """The samples whose `sample_bytes` bytes, little-endian and in C order, are `whole`; adds to `refusals`."""
        import numpy as np

        numbers = np.frombuffer(b"".join(whole), self.wire_dtype)
        return self._finite(numbers, np.asarray(positions, np.int64), refusals)

    def _finite(
        self, numbers: np.ndarray[Any, Any], kept: np.ndarray[Any, Any], refusals: dict[int, Refusal]
    ) -> DecodedBatch:
        """The samples whose numbers these are, without those that are not finite; adds to `refusals`."""
        import numpy as np

        samples = numbers.reshape(len(kept), *self.shape)
        if not self.dtype.startswith("float"):
            return DecodedBatch(samples, kept, refusals)
        # A float64 can be finite and still beyond the float32 that a network takes.
        finite = np.isfinite(self.to_inputs(samples)).all(axis=tuple(range(1, samples.ndim)))
        refusals |= dict.fromkeys(kept[~finite].tolist(), NOT_FINITE)
        return DecodedBatch(samples[finite], kept[finite], refusals)
