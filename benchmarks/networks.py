"""The networks of the training benchmark: so small that the feed, and not the network, sets the pace."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def perceptron(input_shape: tuple[int, ...], outputs: int, hidden: int) -> nn.Module:
    """One hidden layer; with 128 units and 784 inputs 5 to 10 us a sample."""
    from torch import nn

    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), hidden), nn.ReLU(), nn.Linear(hidden, outputs))


def convolution(input_shape: tuple[int, ...], outputs: int, channels: int) -> nn.Module:
    """One convolution of 5x5 with stride 2 and a pooling; with 28 channels and images of 28x28 about 26 us a sample."""
    from torch import nn

    depth, *sides = input_shape
    pooled = math.prod(((side - 5) // 2 + 1) // 2 for side in sides)
    return nn.Sequential(
        nn.Conv2d(depth, channels, 5, stride=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(channels * pooled, outputs),
    )
