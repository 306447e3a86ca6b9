"""The held-out samples whose label a network gets wrong: where they are in the log, a few for each pair of labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from include.kafka.records import Address
from include.kinds import Config

if TYPE_CHECKING:
    import torch

# Of each pair of a true and a predicted label, and of all pairs together.
KEPT_EACH, KEPT = 5, 500


class Mistake(Config):
    """A sample that is taken for another label.

    Attributes:
        topic, partition, offset: of its record.
    """

    true: str
    predicted: str
    topic: str
    partition: int
    offset: int


class MistakeFinder:
    """Collects the first mistakes from batches; in the same order, the result is the same."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = labels
        self._counts: Counter[tuple[int, int]] = Counter()
        self._found: list[Mistake] = []

    def add(self, outputs: torch.Tensor, targets: torch.Tensor, addresses: Sequence[Address]) -> None:
        """Add the outputs (n, classes) for samples with the targets, int64 (n,), and their addresses."""
        predicted = outputs.argmax(dim=1)
        wrong = (predicted != targets).nonzero()[:, 0].cpu().tolist()
        pairs = zip(targets.cpu()[wrong].tolist(), predicted.cpu()[wrong].tolist(), strict=True)
        for position, pair in zip(wrong, pairs, strict=True):
            if len(self._found) == KEPT:
                return
            if self._counts[pair] < KEPT_EACH:
                self._counts[pair] += 1
                true, other = (self._labels[place] for place in pair)
                address = addresses[position]
                self._found.append(
                    Mistake(
                        true=true,
                        predicted=other,
                        topic=address.topic,
                        partition=address.partition,
                        offset=address.offset,
                    )
                )

    def mistakes(self) -> tuple[Mistake, ...]:
        return tuple(self._found)
