"""Base of the sound formats: a mono waveform of one rate and length, and its spectrogram as the network's input."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from include.codecs._spectrogram import LogMel
from include.codecs._threads import available_threads, for_each
from include.codecs.base import Codec, DecodedBatch, check_sample
from include.refusal import InvalidRecord, Refusal

if TYPE_CHECKING:
    import numpy as np

LOWEST_RATE, HIGHEST_RATE = 1000, 384_000
MAX_CHANNELS = 8
# A FLAC file of 1 MB can claim days of silence. A sound that claims more frames than this, and more than the format, is
# refused with a reason code of its own.
MAX_FRAMES = 16_000_000
# Shorter samples decode faster in one thread: libsndfile calls Python for each part of a file, under the GIL.
WORTH_A_THREAD = 65_536
# No topic accepts larger records.
MAX_NUMBERS = 64 * 2**20


class Window(NamedTuple):
    """Which frames of a record become the sample: from `start` on, `frames` at most."""

    start: int
    frames: int


class Extent(NamedTuple):
    """The whole length of a record, with the part that is cut: frames, `rate` of them a second."""

    rate: int
    frames: int

    @property
    def seconds(self) -> float:
        return self.frames / self.rate


class AudioCodec(Codec):
    """Mono sound of `sample_rate` and one length, held as int16 (1, samples); inputs are its log-mel spectrogram.

    Channels are averaged and other rates resampled (soxr, high quality). A longer sound is cut and a shorter one padded
    with silence: at both ends, or with `align = "start"` at its end. Frames after that part are not decoded. Numbers
    beyond full scale, which only float formats have, are clipped.

    Args:
        seconds, samples: the length, one of the two.
    """

    sample_rate: Annotated[int, Field(ge=LOWEST_RATE, le=HIGHEST_RATE)]
    seconds: Annotated[float, Field(gt=0, le=3600)] | None = None
    samples: Annotated[int, Field(ge=1, le=MAX_NUMBERS)] | None = None
    align: Literal["center", "start"] = "center"
    spectrogram: LogMel = LogMel()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.seconds is None) == (self.samples is None):
            raise ValueError("name the length of a sample by one of seconds and samples")
        if not 1 <= self.length <= MAX_NUMBERS:
            raise ValueError(
                f"a sample has 1 to {MAX_NUMBERS} numbers, since no record is larger, and not {self.length}"
            )
        self.spectrogram.corners(self.sample_rate)
        if math.prod(self.input_shape) > MAX_NUMBERS:
            raise ValueError(f"a spectrogram of shape {self.input_shape} has more than {MAX_NUMBERS} numbers")
        return self

    @property
    def length(self) -> int:
        """Samples of the waveform."""
        return self.samples if self.samples is not None else round((self.seconds or 0) * self.sample_rate)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return (1, self.length)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.spectrogram.shape(self.length)

    @abstractmethod
    def write(self, wave: np.ndarray[Any, Any]) -> bytes:
        """int16 (samples,) of `sample_rate` as a record's value."""

    @abstractmethod
    def read(self, value: bytes) -> tuple[np.ndarray[Any, Any], int]:
        """The frames of the record's `window`, float32 (frames, channels) of full scale 1.0, and their rate in Hz.

        Raises:
            InvalidRecord: the value is no sound of this format.
        """

    @abstractmethod
    def extent(self, value: bytes) -> Extent:
        """All of a record that was decoded."""

    def encode(self, sample: np.ndarray[Any, Any]) -> bytes:
        check_sample(sample, self.sample_shape, "int16")
        return self.write(sample[0])

    def decode(self, values: Sequence[bytes | None]) -> DecodedBatch:
        import numpy as np

        samples = np.zeros((len(values), *self.sample_shape), np.int16)
        refusals: dict[int, Refusal] = {}

        def decode_one(position: int) -> None:
            refusal = self._refusal(values[position], samples[position, 0])
            if refusal is not None:
                refusals[position] = refusal

        self.load_decoder()
        for_each(decode_one, len(values), threads=available_threads() if self.length >= WORTH_A_THREAD else 1)
        kept = [position for position in range(len(values)) if position not in refusals]
        in_order = dict(sorted(refusals.items()))  # the threads add theirs as they come
        return DecodedBatch(samples[kept] if refusals else samples, np.asarray(kept, np.int64), in_order)

    def load_decoder(self) -> None:
        """Import the decoder before any thread does: threads that import at once may see a half-initialised module."""
        import soxr  # noqa: F401

    def to_inputs(self, samples: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The log-mel spectrograms, see `LogMel`."""
        return self.spectrogram.of(samples, self.sample_rate)

    @property
    def described(self) -> tuple[str, ...]:
        return ("seconds", "mean", "deviation")

    def describe(self, inputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """See `Codec.describe`: the seconds between the silence at both ends, mean and deviation of the spectrogram."""
        import numpy as np

        heard = inputs.reshape(len(inputs), *self.input_shape).max(axis=(1, 2), initial=0.0) > 0
        frames = np.where(heard.any(axis=1), heard.shape[1] - heard.argmax(axis=1) - heard[:, ::-1].argmax(axis=1), 0)
        seconds = frames * (self.spectrogram.hop / self.sample_rate)
        return np.column_stack([seconds.astype(np.float32), super().describe(inputs)])

    def window(self, rate: int, channels: int, frames: int) -> Window:
        """The part of a record that is decoded, computed from what its header claims.

        Raises:
            InvalidRecord: the header claims a rate, channels or frames outside the limits.
        """
        if not LOWEST_RATE <= rate <= HIGHEST_RATE:
            raise InvalidRecord(
                "wrong-rate",
                f"The sound has {rate} samples a second, and {LOWEST_RATE} to {HIGHEST_RATE} are accepted.",
            )
        if channels > MAX_CHANNELS:
            raise InvalidRecord(
                "too-many-channels", f"The sound has {channels} channels and at most {MAX_CHANNELS} are mixed."
            )
        taken = math.ceil(self.length * rate / self.sample_rate)
        limit = max(MAX_FRAMES, taken)
        if frames > limit:
            raise InvalidRecord("too-many-frames", f"The sound claims {frames} frames and at most {limit} are decoded.")
        if frames < 1:
            raise InvalidRecord("no-frames", "The sound has no frames.")
        start = max(0, frames - taken) // 2 if self.align == "center" else 0
        return Window(start, min(frames, taken))

    def _refusal(self, value: bytes | None, sample: np.ndarray[Any, Any]) -> Refusal | None:
        """Decode the value into `sample`, int16 (length,) of zeros; or why it is no sound of this format."""
        if not value:
            return Refusal("empty", "The record has no value and a sound was expected.")
        try:
            self._fill(sample, *self.read(value))
        except InvalidRecord as error:
            return error.refusal
        return None

    def _fill(self, sample: np.ndarray[Any, Any], frames: np.ndarray[Any, Any], rate: int) -> None:
        import numpy as np
        import soxr

        if not np.isfinite(frames).all():
            raise InvalidRecord("not-finite", "The sound holds NaN or infinity.")
        wave = frames.clip(-1, 1).mean(axis=1, dtype=np.float32)
        if rate != self.sample_rate:
            wave = soxr.resample(wave, rate, self.sample_rate)
        wave = wave[: self.length]
        start = (self.length - len(wave)) // 2 if self.align == "center" else 0
        sample[start : start + len(wave)] = np.rint(wave * 2**15).clip(-(2**15), 2**15 - 1)
