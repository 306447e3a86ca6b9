"""Sounds as bare numbers, with dtype, rate and channels fixed by the pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from include.codecs._audio import HIGHEST_RATE, LOWEST_RATE, MAX_CHANNELS, AudioCodec, Extent
from include.refusal import InvalidRecord

if TYPE_CHECKING:
    import numpy as np

FULL_SCALE = {"int16": 2**15, "int32": 2**31, "float32": 1}


class PcmCodec(AudioCodec):
    """Little-endian, the channels of a frame side by side.

    Args:
        rate: of the records in Hz; by default `sample_rate`.
    """

    kind: Literal["audio.pcm"] = "audio.pcm"
    dtype: Literal["int16", "int32", "float32"] = "int16"
    rate: Annotated[int, Field(ge=LOWEST_RATE, le=HIGHEST_RATE)] | None = None
    channels: Annotated[int, Field(ge=1, le=MAX_CHANNELS)] = 1

    @property
    def wire_dtype(self) -> np.dtype[Any]:
        """The dtype as records hold it: little-endian."""
        import numpy as np

        return np.dtype(self.dtype).newbyteorder("<")

    @property
    def copies(self) -> bool:
        return self.dtype == "int16" and self.channels == 1 and self.rate in (None, self.sample_rate)

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame: a number for each channel."""
        return self.wire_dtype.itemsize * self.channels

    def extent(self, value: bytes) -> Extent:
        return Extent(self.rate or self.sample_rate, len(value) // self.frame_bytes)

    def write(self, wave: np.ndarray[Any, Any]) -> bytes:
        import numpy as np
        import soxr

        if self.rate not in (None, self.sample_rate):
            wave = soxr.resample(wave, self.sample_rate, self.rate)
        numbers = (wave.astype(np.float64) * (FULL_SCALE[self.dtype] / 2**15)).astype(self.wire_dtype)
        return numbers.repeat(self.channels).tobytes()

    def read(self, value: bytes) -> tuple[np.ndarray[Any, Any], int]:
        import numpy as np

        if len(value) % self.frame_bytes:
            raise InvalidRecord(
                "wrong-size", f"The record has {len(value)} bytes, and a frame takes {self.frame_bytes}."
            )
        rate = self.rate or self.sample_rate
        window = self.window(rate, self.channels, len(value) // self.frame_bytes)
        numbers = np.frombuffer(value, self.wire_dtype).reshape(-1, self.channels)
        numbers = numbers[window.start : window.start + window.frames]
        with np.errstate(invalid="ignore"):  # AudioCodec refuses NaN
            return np.multiply(
                numbers, np.float32(1 / FULL_SCALE[self.dtype]), dtype=np.float32, casting="unsafe"
            ), rate
