"""What an augmentation is: a batch's inputs in, changed ones out, and every draw from torch's own generator."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from include.kinds import Config

if TYPE_CHECKING:
    import torch


class Augmentation(Config):
    """Settings of one `[[training.augment]]` table and the change that they stand for."""

    kind: str

    @abstractmethod
    def check(self, input_shape: tuple[int, ...]) -> None:
        """Refuse a format whose inputs it can't change.

        Raises:
            ValueError: naming the shape and what is expected.
        """

    @abstractmethod
    def apply(self, inputs: torch.Tensor) -> torch.Tensor:
        """The inputs changed, each sample by draws of its own, in the same shape; the ones given stay what they are.

        It draws from torch's CPU generator and nothing else: that one's state is in the checkpoints, so that a run
        that is killed and resumed sees what it would have seen.

        Args:
            inputs: float32 (batch, *input_shape) on the CPU, the batch not empty.
        """


def augmented(inputs: torch.Tensor, augmentations: Sequence[Augmentation]) -> torch.Tensor:
    """The inputs after all the augmentations, one after the other."""
    for augmentation in augmentations:
        inputs = augmentation.apply(inputs)
    return inputs
