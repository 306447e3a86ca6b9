"""A sound in words: its length and its level."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from include.codecs import AudioCodec


def sound(sample: np.ndarray[Any, Any], value: bytes, codec: AudioCodec) -> str:
    """The record's length, and peak and root mean square of the part in its sample.

    Both are in dBFS relative to 1.0: a full-scale sine has a root mean square of -3.0 dBFS.

    Args:
        sample: int16 (1, samples), decoded from `value`.
    """
    import numpy as np

    seconds = codec.extent(value).seconds
    taken = max(1, min(codec.length, round(seconds * codec.sample_rate)))
    wave = sample[0].astype(np.float64) / 2**15
    peak, power = float(np.abs(wave).max()), float(np.square(wave).sum()) / taken
    level = f"peak {_decibels(peak)}, RMS {_decibels(math.sqrt(power))}" if peak else "silence"
    return f"sound of {seconds:.2f} s, of which {taken / codec.sample_rate:.2f} s are taken: {level}"


def _decibels(level: float) -> str:
    return f"{20 * math.log10(level):.1f} dBFS"
