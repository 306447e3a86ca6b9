"""What an augmentation is: it maps a batch of inputs to changed ones, with random draws from torch's CPU generator."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from include.kinds import Config

if TYPE_CHECKING:
    import torch


class Augmentation(Config):
    """Settings of one `[[training.augment]]` table, and the change that they define."""

    kind: str

    @abstractmethod
    def check(self, input_shape: tuple[int, ...]) -> None:
        """Refuse a format whose inputs it cannot change.

        Raises:
            ValueError: naming the shape and the expected one.
        """

    @abstractmethod
    def apply(self, inputs: torch.Tensor) -> torch.Tensor:
        """A changed copy of the inputs, in the same shape, with separate draws for each sample.

        It draws from torch's CPU generator only. Checkpoints have that generator's state, so that a resumed run gets
        the same inputs as one that was never killed.

        Args:
            inputs: float32 (batch, *input_shape) on the CPU, the batch not empty.
        """


def augmented(inputs: torch.Tensor, augmentations: Sequence[Augmentation]) -> torch.Tensor:
    """The inputs after all the augmentations, one after the other."""
    for augmentation in augmentations:
        inputs = augmentation.apply(inputs)
    return inputs
