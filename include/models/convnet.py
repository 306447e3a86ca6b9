"""A small convolutional network for images (after LeNet: LeCun et al., 1998)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from include.models.base import ModelDefinition

if TYPE_CHECKING:
    from torch import nn


class ConvNet(ModelDefinition):
    """Stages of two 3x3 convolutions and a 2x2 pooling, then two linear layers."""

    kind: Literal["convnet"] = "convnet"
    channels: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (32, 64)
    hidden: Annotated[int, Field(ge=1)] = 128
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.25

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from torch import nn

        if len(input_shape) != 3:
            raise ValueError(
                f"A convnet takes images of shape (channels, height, width) and the format has shape {input_shape}: "
                "choose another [model] kind."
            )
        channels, height, width = input_shape
        smallest = 2 ** len(self.channels)
        if min(height, width) < smallest:
            raise ValueError(
                f"A convnet of {len(self.channels)} stages takes images of at least {smallest}x{smallest} pixels and "
                f"the format has {height}x{width}: name fewer [model] channels."
            )
        layers: list[nn.Module] = []
        for more in self.channels:
            layers += [nn.Conv2d(channels, more, 3, padding=1), nn.ReLU()]
            # Pooling first gives the same numbers, and ReLU then has a quarter of them.
            layers += [nn.Conv2d(more, more, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()]
            channels, height, width = more, height // 2, width // 2
        layers += [nn.Flatten(), nn.Linear(channels * height * width, self.hidden), nn.ReLU()]
        layers += [nn.Dropout(self.dropout), nn.Linear(self.hidden, outputs)]
        return nn.Sequential(*layers)
