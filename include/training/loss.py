"""The mean loss of an epoch, and the batch where it became NaN or infinite."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from include.errors import PermanentError

if TYPE_CHECKING:
    import torch

FETCHED_AT_ONCE = 50


class LossNotFinite(PermanentError):
    """The loss is NaN or infinite; a retry of the same job fails in the same batch."""


@dataclass
class EpochLoss:
    """The sum of the batches' losses.

    Losses are fetched from the device many at a time, because each fetch from a GPU waits for all work before it. They
    are added in the order of the batches, so that a resumed epoch gives the same sum, bit for bit.
    """

    total: float = 0.0
    samples: int = 0
    _pending: list[tuple[int, int, torch.Tensor]] = field(default_factory=list)

    def add(self, batch: int, samples: int, loss: torch.Tensor) -> None:
        """Add the mean loss over the samples of a batch.

        Raises:
            LossNotFinite: this loss, or a pending one before it, is not finite.
        """
        self._pending.append((batch, samples, loss.detach()))
        if len(self._pending) >= FETCHED_AT_ONCE:
            self.fetch()

    def fetch(self) -> None:
        """Add the pending losses to the total.

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
        """The mean over the fetched losses; 0 without samples."""
        return self.total / self.samples if self.samples else 0.0
