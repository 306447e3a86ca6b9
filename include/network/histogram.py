"""Histograms of one number, and how far two of them are apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from include.kinds import Config

if TYPE_CHECKING:
    import numpy as np

BINS = 10


class Histogram(Config):
    """How many samples have a number in each bin.

    Attributes:
        name: of the number.
        edges: ascending. The first bin has the numbers up to the first edge, the next those above it up to the second,
            and the last those above the last edge.
        counts: by bin, one more than edges.
    """

    name: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        return sum(self.counts)

    def count(self, numbers: np.ndarray[Any, Any]) -> tuple[int, ...]:
        """How many of other numbers (n,) each bin has; those that are not finite are left out."""
        import numpy as np

        finite = numbers[np.isfinite(numbers)]
        places = np.searchsorted(np.array(self.edges, np.float64), finite.astype(np.float64), side="left")
        return tuple(np.bincount(places, minlength=len(self.counts)).tolist())


def histogram_of(name: str, numbers: np.ndarray[Any, Any]) -> Histogram:
    """The histogram of numbers (n,): bins of about equal counts, or one for each number where there are at most `BINS`.

    In the second case the gaps between the numbers are bins as well, for a number that never came.
    """
    import numpy as np

    finite = numbers[np.isfinite(numbers)].astype(np.float64)
    distinct = np.unique(finite)
    if len(distinct) <= BINS:
        edges = np.unique(np.concatenate([np.nextafter(distinct, -np.inf), distinct]))
    else:
        shares = np.arange(1, BINS) / BINS
        # Numbers that occurred, so that no two versions of NumPy interpolate them differently.
        edges = np.unique(np.quantile(finite, shares, method="inverted_cdf"))
    empty = Histogram(name=name, edges=tuple(edges.tolist()), counts=(0,) * (len(edges) + 1))
    return empty.model_copy(update={"counts": empty.count(finite)})


def stability_index(reference: Sequence[int], found: Sequence[int]) -> float:
    """The population stability index of two lists of counts by bin (Siddiqi, Credit Risk Scorecards, 2006).

    It is the sum of (p - q) * ln(p / q) over the bins, with p and q the shares of a bin. Bins that are empty in both
    are left out. Half a sample is added to each other bin, so that one that is empty on one side has a logarithm.
    """
    used = [pair for pair in zip(reference, found, strict=True) if any(pair)]
    first, second = (sum(counts) + len(used) / 2 for counts in (zip(*used, strict=True) if used else ((), ())))
    index = 0.0
    for one, other in used:
        p, q = (one + 0.5) / first, (other + 0.5) / second
        index += (p - q) * math.log(p / q)
    return index


def drift(reference: Sequence[int], found: Sequence[int]) -> float:
    """The stability index beyond what chance alone gives to two samples of one population, at least 0.

    Of n and m samples in b bins, chance gives about (b - 1) * (1 / n + 1 / m) (Yurdakul and Naranjo, Journal of Risk
    Model Validation, 2020). Without it, few samples or many labels would look like drift.
    """
    one, other = sum(reference), sum(found)
    if not one or not other:
        return 0.0
    bins = sum(1 for pair in zip(reference, found, strict=True) if any(pair))
    return max(0.0, stability_index(reference, found) - (bins - 1) * (1 / one + 1 / other))
