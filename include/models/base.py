"""The model definition: settings that build a network for given inputs and labels.

A network is a `torch.nn.Module` from float32 inputs (batch, *input_shape) to float32 outputs (batch, outputs), one for
each of the pipeline's labels: logits for a classification or several labels, values for a regression. It may have two
more methods:

- `loss_of(outputs, targets)`: the loss to minimise instead of the task's own, a scalar tensor, the mean over the batch.
  Targets are int64 (batch,) class indices, float32 (batch, outputs) zeros and ones, or float32 (batch, outputs) values,
  which are scaled to mean 0 and standard deviation 1 unless `[training] normalise = false`.
- `metrics_of(outputs, targets) -> dict[str, float]`: metrics on the held-out samples beside the task's own, each the
  mean over the batch; outputs and targets of a regression are in the labels' units. They are logged and stored, and
  decide nothing.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from include.kinds import Config
from include.targets.base import Target

if TYPE_CHECKING:
    import torch
    from torch import nn


class ModelDefinition(Config):
    """Settings of a `[model]` table."""

    kind: str

    @abstractmethod
    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        """A network from float32 inputs (batch, *input_shape) to float32 outputs (batch, outputs).

        Raises:
            ValueError: the network cannot take inputs of this shape.
        """


def loss_function(network: nn.Module, target: Target) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The network's own loss, or the task's: from outputs and targets to the mean over the batch."""
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = getattr(network, "loss_of", target.loss)
    return lambda outputs, targets: loss(outputs, target.prepared(targets))


def own_metrics(network: nn.Module, outputs: torch.Tensor, targets: torch.Tensor) -> Mapping[str, float]:
    """The network's own metrics of a batch; none if it has no `metrics_of`."""
    measure: Callable[[torch.Tensor, torch.Tensor], Mapping[str, float]] | None = getattr(network, "metrics_of", None)
    return {} if measure is None else measure(outputs, targets)
