"""Evaluating a network: loss, metrics and confusion matrix over batches."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.codecs.base import Codec
from include.models.base import loss_function, own_metrics
from include.targets.base import Target

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn


log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The result of an evaluation.

    Attributes:
        samples: how many were evaluated.
        loss: the mean over them; 0 without samples.
        metric: name of the metric that decides a promotion.
        metrics: all metrics by name; 0 without samples.
        confusion: int64 (classes, classes), counts by true label (row) and predicted label (column); None where a
            sample has not exactly one label.
        addends: float64 (samples, addends), see `Target.addends`; None unless they were asked for.
    """

    samples: int
    loss: float
    metric: str
    metrics: dict[str, float]
    confusion: np.ndarray[Any, Any] | None
    addends: np.ndarray[Any, Any] | None = None

    @property
    def score(self) -> float:
        """The metric that decides a promotion: higher is better, 1 is perfect."""
        return self.metrics[self.metric]


def evaluate(
    network: nn.Module,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    target: Target,
    *,
    codec: Codec | None = None,
    by_sample: bool = False,
    observe: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], None] | None = None,
) -> Evaluation:
    """Predict batches of float32 (n, *shape) inputs and their targets; every module's mode is restored.

    Batches are moved to the network's own device; results are fetched from it once, after the last batch.

    Args:
        codec: whose `on_device` makes inputs of the batches; without it they are inputs.
        by_sample: keep what each sample adds to the score.
        observe: gets the inputs, outputs and targets of each batch, on the network's device.
    """
    import torch

    parameter = next(network.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    samples, tally, mean_loss = 0, target.tally(device), loss_function(network, target)
    loss = torch.zeros((), dtype=torch.float64, device=device)
    own: dict[str, Any] = {}
    addends: list[torch.Tensor] = []
    # Saved per module: in a network that is being trained, frozen parts are in evaluation mode.
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.inference_mode():
            for batch, labels in batches:
                if not len(labels):
                    continue
                truth = labels.to(device, non_blocking=True)
                inputs = batch.to(device, non_blocking=True)
                inputs = inputs if codec is None else codec.on_device(inputs)
                outputs = network(inputs)
                if observe is not None:
                    observe(inputs, outputs, truth)
                loss += mean_loss(outputs, truth).double() * len(labels)
                tally.add(outputs, truth)
                if by_sample:
                    addends.append(target.addends(outputs, truth))
                for name, value in own_metrics(network, target.restored(outputs), truth).items():
                    own[name] = own.get(name, 0) + value * len(labels)
                samples += len(labels)
    finally:
        for module, training in modes:
            module.training = training
    means = {name: float(total) / samples for name, total in own.items()}
    # JSON has no NaN or infinity, and an undefined metric that decides nothing must not fail a training.
    if undefined := sorted(name for name, value in means.items() if not math.isfinite(value)):
        log.warning("The network's own metrics %s are not finite and are left out.", ", ".join(undefined))
    metrics = tally.metrics() | {name: value for name, value in means.items() if math.isfinite(value)}
    kept = torch.cat(addends).cpu().numpy() if addends else None
    return Evaluation(samples, float(loss) / max(samples, 1), target.metric, metrics, tally.confusion(), kept)
