"""A small convolutional network for spectrograms, invariant to when a sound begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from include.models.base import ModelDefinition

if TYPE_CHECKING:
    from torch import nn


class SpectrogramNet(ModelDefinition):
    """Stages of a 3x3 convolution, batch normalisation and 2x2 pooling, then global means (Lin et al., 2014).

    Each spectrogram is first normalised by itself (Ulyanov et al., 2016), which removes the sound's level. The means
    are over all frames, so that a sound may begin anywhere, and over the remaining bands.

    Args:
        stride: of the first stage's convolution. 2 halves the spectrogram in place of the stage's pooling, which is a
            quarter of the work and memory of the stage that needs most of them.
    """

    kind: Literal["spectrogram"] = "spectrogram"
    channels: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (16, 32, 64, 64)
    # Left out of the JSON where it is not set, so that jobs and models from before it existed keep their digests.
    stride: Annotated[Literal[1, 2], Field(exclude_if=lambda stride: stride == 1)] = 1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.25

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        from torch import nn

        if len(input_shape) != 3:
            raise ValueError(
                "A spectrogram network takes inputs of shape (channels, bands, frames) and the format has shape "
                f"{input_shape}: choose another [model] kind."
            )
        inputs, bands, frames = input_shape
        smallest = 2 ** len(self.channels)
        if min(bands, frames) < smallest:
            raise ValueError(
                f"A spectrogram network of {len(self.channels)} stages takes at least {smallest} bands and frames and "
                f"the format has {bands}x{frames}: name fewer [model] channels, or a smaller hop in [format]."
            )
        layers: list[nn.Module] = [nn.InstanceNorm2d(inputs)]
        for position, channels in enumerate(self.channels):
            stride = self.stride if position == 0 else 1
            layers += [nn.Conv2d(inputs, channels, 3, stride, padding=1, bias=False), nn.BatchNorm2d(channels)]
            # Pooling first gives the same numbers, and ReLU then has a quarter of them.
            layers += [nn.ReLU()] if stride > 1 else [nn.MaxPool2d(2), nn.ReLU()]
            inputs = channels
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(self.dropout), nn.Linear(inputs, outputs)]
        return nn.Sequential(*layers)
