"""How well a network knows samples: accuracy, loss and the confusion matrix."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What an evaluation found.

    Attributes:
        samples: how many there were.
        correct: how many got their own label.
        loss: mean cross entropy in nats; 0 without samples.
        confusion: int64 (classes, classes): counts by true label (row) and predicted label (column).
    """

    samples: int
    correct: int
    loss: float
    confusion: np.ndarray[Any, Any]

    @property
    def accuracy(self) -> float:
        """Share of the samples that got their own label, 0 without samples."""
        return self.correct / self.samples if self.samples else 0.0


def evaluate(network: nn.Module, batches: Iterable[tuple[torch.Tensor, torch.Tensor]], classes: int) -> Evaluation:
    """Predict batches of float32 (n, *shape) inputs and int64 (n,) labels; the network's mode is restored.

    Batches are moved to the network's own device; nothing is taken back from it before the last one.
    """
    import torch
    from torch.nn import functional

    parameter = next(network.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    confusion = torch.zeros(classes * classes, dtype=torch.int64, device=device)
    loss = torch.zeros((), dtype=torch.float64, device=device)
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            for inputs, labels in batches:
                if not len(labels):
                    continue
                truth = labels.to(device, non_blocking=True)
                logits = network(inputs.to(device, non_blocking=True))
                loss += functional.cross_entropy(logits, truth, reduction="sum")
                confusion += torch.bincount(truth * classes + logits.argmax(dim=1), minlength=classes * classes)
    finally:
        network.train(was_training)
    counts = confusion.reshape(classes, classes).cpu().numpy()
    samples = int(counts.sum())
    return Evaluation(samples, int(counts.trace()), float(loss) / max(samples, 1), counts)
