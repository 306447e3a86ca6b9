"""The mean loss of an epoch, and the batch where it stopped being a number."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from include.errors import PermanentError

if TYPE_CHECKING:
    import torch

FETCHED_AT_ONCE = 50


class LossNotFinite(PermanentError):
    """The loss is NaN or infinite: the same job ends there again."""


@dataclass
class EpochLoss:
    """Losses are fetched many at a time: on a GPU each fetch waits for all the work before it.

    They are added in the order of the batches, so that a resumed epoch gives the same sum, bit for bit.
    """

    total: float = 0.0
    samples: int = 0
    _pending: list[tuple[int, int, torch.Tensor]] = field(default_factory=list)

    def add(self, batch: int, samples: int, loss: torch.Tensor) -> None:
        """Note the mean loss over the samples of a batch.

        Raises:
            LossNotFinite: this one or one of the last few.
        """
        self._pending.append((batch, samples, loss.detach()))
        if len(self._pending) >= FETCHED_AT_ONCE:
            self.fetch()

    def fetch(self) -> None:
        """Add up what is pending.

        Raises:
            LossNotFinite: with the number of the batch.
        """
        import torch

        if not self._pending:
            return
        values = torch.stack([loss for _, _, loss in self._pending]).tolist()
        for (batch, samples, _), value in zip(self._pending, values, strict=True):
            if not math.isfinite(value):
                raise LossNotFinite(f"the loss became {value} in batch {batch}")
            self.total += value * samples
            self.samples += samples
        self._pending.clear()

    @property
    def mean(self) -> float:
        """Over what was fetched, 0 without samples."""
        return self.total / self.samples if self.samples else 0.0
