"""A sound as a person is told of it: how long, and how loud."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from include.codecs._audio import AudioCodec


def sound(sample: np.ndarray[Any, Any], value: bytes, codec: AudioCodec) -> str:
    """Length of the record, and peak and root mean square of what its sample takes of it.

    Both are in decibels below full scale, which is 1.0 for either: a sine of full scale has a root mean square of
    -3.0 dBFS.

    Args:
        sample: int16 (1, samples), decoded from `value`.
    """
    import numpy as np

    seconds = codec.duration(value)
    heard = max(1, min(codec.length, round(seconds * codec.sample_rate)))
    wave = sample[0].astype(np.float64) / 2**15
    peak, power = float(np.abs(wave).max()), float(np.square(wave).sum()) / heard
    level = f"peak {_decibels(peak)}, RMS {_decibels(math.sqrt(power))}" if peak else "silence"
    return f"sound of {seconds:.2f} s, of which {heard / codec.sample_rate:.2f} s are taken: {level}"


def _decibels(level: float) -> str:
    return f"{20 * math.log10(level):.1f} dBFS"
