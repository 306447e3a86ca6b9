"""Log-mel spectrograms, the network's input for a sound."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, model_validator

from include.kinds import Config

if TYPE_CHECKING:
    import numpy as np
    import torch

# The quietest level that differs from silence, in decibels below a sine of full scale.
RANGE_DB = 80.0
# Complex numbers of the Fourier transforms in memory at one time. The memory of much larger arrays is mapped anew for
# each call, and its page faults take up to ten times as long as the transforms.
TRANSFORMED = 2**18


class LogMel(Config):
    """A mel filterbank over short-time Fourier transforms (Davis and Mermelstein, 1980), in decibels.

    Windows of `n_fft` samples (Hann), one every `hop` samples and centred on it, zeros before the beginning and after
    the end. Bands are triangles of height 1, evenly spaced from `fmin` to `fmax` Hz on the mel scale of the HTK book
    (2595 * log10(1 + f / 700)). A sine of full scale in the middle of a band gives about 1.0, and 80 dB less gives 0.0.

    Args:
        fmax: by default half the sample rate.
    """

    n_fft: Annotated[int, Field(ge=16, le=65_536)] = 512
    hop: Annotated[int, Field(ge=1, le=65_536)] = 256
    n_mels: Annotated[int, Field(ge=1, le=512)] = 40
    fmin: Annotated[float, Field(ge=0)] = 0.0
    fmax: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _overlapping(self) -> Self:
        if self.hop > self.n_fft:
            raise ValueError(f"hop = {self.hop} leaves out samples between windows of n_fft = {self.n_fft}")
        return self

    def shape(self, samples: int) -> tuple[int, int, int]:
        """(1, mels, frames) for a waveform of `samples` samples."""
        return (1, self.n_mels, 1 + samples // self.hop)

    def corners(self, sample_rate: int) -> list[float]:
        """In Hz, n_mels + 2: each band rises from one to the next and falls to the one after it.

        Raises:
            ValueError: the rate has no such frequencies, or a band is so narrow that it contains none.
        """
        highest = sample_rate / 2 if self.fmax is None else self.fmax
        if not self.fmin < highest <= sample_rate / 2:
            raise ValueError(
                f"fmin = {self.fmin:g} and fmax = {highest:g} are no range below {sample_rate / 2:g}, half the rate"
            )
        first, last = (2595 * math.log10(1 + frequency / 700) for frequency in (self.fmin, highest))
        mels = (first + (last - first) * band / (self.n_mels + 1) for band in range(self.n_mels + 2))
        corners = [700 * (10 ** (mel / 2595) - 1) for mel in mels]
        step = sample_rate / self.n_fft
        if any((left // step + 1) * step >= right for left, right in zip(corners, corners[2:], strict=False)):
            raise ValueError(
                f"n_mels = {self.n_mels} bands are narrower than the {step:.1f} Hz that n_fft = {self.n_fft} "
                "resolves: set a smaller n_mels or a larger n_fft"
            )
        return corners

    def filters(self, sample_rate: int) -> np.ndarray[Any, Any]:
        """float64 (n_fft // 2 + 1, n_mels): how much of each frequency goes into each band."""
        import numpy as np

        corners = np.array(self.corners(sample_rate))
        left, middle, right = corners[:-2], corners[1:-1], corners[2:]
        frequencies = np.arange(self.n_fft // 2 + 1)[:, None] * (sample_rate / self.n_fft)
        rising, falling = (frequencies - left) / (middle - left), (right - frequencies) / (right - middle)
        filters: np.ndarray[Any, Any] = np.maximum(0, np.minimum(rising, falling))
        return filters

    def of(self, samples: np.ndarray[Any, Any], sample_rate: int) -> np.ndarray[Any, Any]:
        """int16 (n, 1, samples) as float32 (n, 1, n_mels, frames), from 0.0 for silence to about 1.0."""
        import numpy as np
        import torch

        window, filters = _constants(self, sample_rate)
        shape = self.shape(samples.shape[-1])
        inputs = np.empty((len(samples), *shape), np.float32)
        rows = max(1, TRANSFORMED // (len(filters) * shape[-1]))
        for start in range(0, len(samples), rows):
            waves = torch.from_numpy(samples[start : start + rows, 0].astype(np.float32) / 2**15)
            spectra = torch.stft(waves, self.n_fft, self.hop, window=window, pad_mode="constant", return_complex=True)
            power = (spectra.real**2 + spectra.imag**2).transpose(1, 2) @ filters
            decibels = 10 * torch.log10(power.clamp(min=10 ** (-RANGE_DB / 10)))
            inputs[start : start + rows, 0] = (1 + decibels / RANGE_DB).transpose(1, 2).numpy()
        return inputs


@cache
def _constants(settings: LogMel, sample_rate: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The window, scaled so that a sine of full scale has power 1 at its frequency, and the filters."""
    import torch

    window = torch.hann_window(settings.n_fft, dtype=torch.float64)
    filters = torch.from_numpy(settings.filters(sample_rate))
    return (2 * window / window.sum()).float(), filters.float()
