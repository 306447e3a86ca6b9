"""What a model definition is: settings that build a network for given inputs and labels."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from include.kinds import Config

if TYPE_CHECKING:
    from torch import nn


class ModelDefinition(Config):
    """Settings of a `[model]` table."""

    kind: str

    @abstractmethod
    def build(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """A network from float32 inputs (batch, *input_shape) to float32 logits (batch, classes).

        Raises:
            ValueError: the network cannot take inputs of this shape.
        """
