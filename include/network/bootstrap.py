"""The confidence interval of one model's lead over another on the same samples, by a paired bootstrap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from include.targets.base import Target

if TYPE_CHECKING:
    import numpy as np

REPLICATES = 1000


def lead_interval(
    target: Target,
    ours: np.ndarray[Any, Any],
    theirs: np.ndarray[Any, Any],
    groups: Sequence[int],
    confidence: float,
    seed: int,
) -> tuple[float, float]:
    """The percentile interval of our score minus theirs (Efron and Tibshirani, Introduction to the Bootstrap, 13.3).

    Each replicate draws as many groups with replacement, the same ones for both models, and each with all its samples:
    those of a group are not independent, several of one speaker for instance (Davison and Hinkley, Bootstrap Methods
    and their Application, 3.8). One group shows nothing of how groups differ, so its interval is infinite.

    Args:
        ours, theirs: float64 (samples, addends) of the same samples in the same order, see `Target.addends`; at least
            one sample.
        groups: the number of each sample's group; a sample that belongs to no other has one of its own.
        confidence: the share of the replicates in the interval, 0 to 1.
        seed: the same one gives the same interval.
    """
    import numpy as np

    found, places, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    count = len(found)
    if count < 2:
        return -math.inf, math.inf
    by_group = np.zeros((2, count, ours.shape[1]))
    np.add.at(by_group[0], places, ours)
    np.add.at(by_group[1], places, theirs)
    generator = np.random.default_rng(seed)
    leads = np.empty(REPLICATES)
    for replicate in range(REPLICATES):
        times = np.bincount(generator.integers(count, size=count), minlength=count)
        samples = int(times @ sizes)
        own, other = (target.score(times @ addends, samples) for addends in by_group)
        leads[replicate] = own - other
    low, high = np.quantile(leads, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
