"""Arrays as their bare bytes, with dtype and shape fixed by the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from include.codecs.base import Codec, Decoded, Refusal, check_sample

if TYPE_CHECKING:
    import numpy as np


class RawCodec(Codec):
    """C-ordered little-endian arrays of one `dtype` and `shape`; inputs are `samples * scale` in float32."""

    kind: Literal["tensor.raw"] = "tensor.raw"
    shape: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]
    dtype: Literal["uint8", "int16", "int32", "float32", "float64"] = "uint8"
    scale: Annotated[float, Field(allow_inf_nan=False)] = 1.0

    @property
    def schema_name(self) -> str:
        return "tensor.raw/1"

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return self.shape

    def encode(self, sample: np.ndarray[Any, Any]) -> bytes:
        check_sample(sample, self.shape, self.dtype)
        return sample.astype(self._wire_dtype(), copy=False).tobytes()

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        import numpy as np

        size = self._wire_dtype().itemsize * int(np.prod(self.shape))
        refusals: list[Refusal] = []
        whole: list[bytes] = []
        positions: list[int] = []
        for position, value in enumerate(values):
            if value is not None and len(value) == size:
                whole.append(value)
                positions.append(position)
            elif not value:
                refusals.append(Refusal(position, "empty", "The record has no value and an array was expected."))
            else:
                error = f"The record has {len(value)} bytes and {self.dtype} of shape {self.shape} takes {size}."
                refusals.append(Refusal(position, "wrong-size", error))
        samples = np.frombuffer(b"".join(whole), self._wire_dtype()).reshape(len(whole), *self.shape)
        if not self.dtype.startswith("float"):
            return Decoded(samples, np.asarray(positions, np.int64), refusals)
        # A float64 can be finite and still beyond the float32 that a network takes.
        finite = np.isfinite(self.to_inputs(samples)).all(axis=tuple(range(1, samples.ndim)))
        kept = np.asarray(positions, np.int64)
        error = "The array holds NaN, infinity or a number beyond float32 inputs."
        refusals += [Refusal(int(position), "not-finite", error) for position in kept[~finite]]
        return Decoded(samples[finite], kept[finite], refusals)

    def to_inputs(self, samples: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        import numpy as np

        with np.errstate(over="ignore", invalid="ignore"):
            inputs: np.ndarray[Any, Any] = np.multiply(
                samples, np.float32(self.scale), dtype=np.float32, casting="unsafe"
            )
        return inputs

    def _wire_dtype(self) -> np.dtype[Any]:
        import numpy as np

        return np.dtype(self.dtype).newbyteorder("<")
