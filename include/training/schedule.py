"""The learning rate as a pure function of progress, so that a resumed run needs no state for it."""

from __future__ import annotations

import math

WARM_UP = 0.2
FIRST_SHARE = 0.1
LAST_SHARE = 0.01


def learning_rate(peak: float, progress: float) -> float:
    """Linear warm-up, then half a cosine (after Smith and Topin, 2017: one cycle, for fast convergence).

    Args:
        peak: the rate at the end of the warm-up.
        progress: share of the training that is done, 0 to 1.
    """
    if progress < WARM_UP:
        return peak * (FIRST_SHARE + (1 - FIRST_SHARE) * progress / WARM_UP)
    fall = min((progress - WARM_UP) / (1 - WARM_UP), 1.0)
    return peak * (LAST_SHARE + (1 - LAST_SHARE) * (1 + math.cos(math.pi * fall)) / 2)


def expected_batches(offsets: int, held_out: float, batch_size: int) -> int:
    """About how many batches an epoch has; offsets are an upper bound of records, and that is all that is known."""
    return max(math.ceil(offsets * (1 - held_out) / batch_size), 1)
