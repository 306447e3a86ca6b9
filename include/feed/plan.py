"""The order of an epoch: blocks of offsets, shuffled; then windows of samples, shuffled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from include.kafka.ranges import OffsetRange

if TYPE_CHECKING:
    import numpy as np


SMALLEST_BLOCK = 1024


def epoch_blocks(
    ranges: Sequence[OffsetRange], *, window: int, seed: int, epoch: int, shuffle: bool
) -> list[OffsetRange]:
    """Cut the ranges into blocks of a quarter of the window and shuffle them.

    A block is read in one sweep, so it must be long compared with a seek; a window spans several blocks, so that a
    batch mixes samples that are far apart in the log.
    """
    size = max(window // 4, SMALLEST_BLOCK)
    blocks = [
        replace(item, start=start, end=min(start + size, item.end))
        for item in ranges
        for start in range(item.start, item.end, size)
    ]
    if not shuffle:
        return blocks
    return [blocks[index] for index in _generator(seed, epoch).permutation(len(blocks))]


def batch_ends(samples: int, batch_size: int) -> list[int]:
    """Where each batch of a window ends; a single sample that is left over joins the batch before it."""
    ends = list(range(batch_size, samples + 1, batch_size))
    left = samples - len(ends) * batch_size
    if left == 1 and ends:
        ends[-1] = samples
    elif left:
        ends.append(samples)
    return ends


def window_order(samples: int, *, seed: int, epoch: int, window: int, shuffle: bool) -> np.ndarray[Any, Any]:
    """The order in which a window's samples are served: int64 of shape (samples,)."""
    import numpy as np

    if not shuffle:
        return np.arange(samples)
    # From 1: NumPy's SeedSequence treats (seed, epoch) and (seed, epoch, 0) as equal.
    return _generator(seed, epoch, window + 1).permutation(samples)


def _generator(*entropy: int) -> np.random.Generator:
    import numpy as np

    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))
