"""The confidence interval of one model's lead over another on the same samples, by a paired bootstrap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include.targets.base import Target

if TYPE_CHECKING:
    import numpy as np

REPLICATES = 1000


def lead_interval(
    target: Target, ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any], confidence: float, seed: int
) -> tuple[float, float]:
    """The percentile interval of our score minus theirs (Efron and Tibshirani, Introduction to the Bootstrap, 13.3).

    Each replicate draws as many samples with replacement, the same ones for both models. Samples count as independent;
    where some belong together, several of one speaker for instance, the true interval is wider.

    Args:
        ours, theirs: float64 (samples, addends) of the same samples in the same order, see `Target.addends`; at least
            one sample.
        confidence: the share of the replicates in the interval, 0 to 1.
        seed: the same one gives the same interval.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    samples = len(ours)
    leads = np.empty(REPLICATES)
    for replicate in range(REPLICATES):
        times = np.bincount(generator.integers(samples, size=samples), minlength=samples)
        leads[replicate] = target.score(times @ ours, samples) - target.score(times @ theirs, samples)
    low, high = np.quantile(leads, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
