"""What a task defines: how a label is parsed, the loss, the metrics, and the answer in a prediction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from textwrap import shorten
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol
from unicodedata import normalize

from include.field_text import untyped_text
from include.refusal import Refusal

if TYPE_CHECKING:
    import numpy as np
    import torch

Task = Literal["classification", "multi-label", "regression"]

# A message names at most this many labels.
LISTED = 100

# The fields that a prediction has by its task, as JSON.
Answer = dict[str, Any]


class Tally(Protocol):
    """Sums over the batches of an evaluation, on their device; nothing is copied from the device before the end."""

    def add(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Add outputs of the network (n, outputs) and their targets."""

    def metrics(self) -> dict[str, float]:
        """Metrics by name, including the target's `metric`; all are finite, also for no samples."""

    def confusion(self) -> np.ndarray[Any, Any] | None:
        """int64 (classes, classes), counts by true and predicted label; None where a sample may have several labels."""


class Target(ABC):
    """One task over named labels.

    Attributes:
        task: as `[training] task` has it.
        metric: the number that decides a promotion; higher is better and 1 is perfect.
        dtype, shape: of a target, in NumPy's notation.
        unknown: the placeholder for a target that could not be parsed.
        labels: names, one for each output of the network.
    """

    task: ClassVar[Task]
    metric: ClassVar[str]
    dtype: ClassVar[str]
    shape: tuple[int, ...]
    unknown: Any

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self._listed = shorten(", ".join(self.labels[:LISTED]), 200)
        self._places = {label: place for place, label in enumerate(self.labels)}
        for place, label in enumerate(self.labels):
            self._places.setdefault(_compared(label), place)

    def place_of(self, name: str) -> int | None:
        """The index of a label in `labels`, None if it is missing; `3.0` equals `3`, and `True` equals `true`.

        A missing cell turns a column of integers into floats, and programs write booleans in different ways. Names are
        compared in Unicode's NFC, because macOS writes folders' names in NFD.
        """
        place = self._places.get(name)
        return self._places.get(_compared(name)) if place is None else place

    @abstractmethod
    def read(self, text: str) -> Any | Refusal:
        """Parse a label's text: a target that NumPy converts to `dtype` and `shape`, or why it is refused."""

    @abstractmethod
    def named(self, target: Any) -> frozenset[int] | None:
        """The places of the labels that a target of `read` stands for; None where it is numbers."""

    def right(self, names: Iterable[str], target: Any) -> bool | None:
        """Whether an answer with these labels is the target's, no more and no fewer; None where it is numbers."""
        true = self.named(target)
        return None if true is None else {self.place_of(name) for name in names} == true

    def unknown_label(self, name: str) -> Refusal:
        """Why a name that is not in `labels` is refused."""
        return Refusal("unknown-label", f"The label {name!r:.200} is not in training.labels ({self._listed}).")

    @abstractmethod
    def known(self, targets: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Booleans (n,): False where a target is `unknown`."""

    @abstractmethod
    def counts(self, targets: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """int64 (labels,): how many of the targets have each label."""

    @abstractmethod
    def constant_score(self, counts: Sequence[int], samples: int) -> float:
        """The highest `metric` of an answer that is the same for all samples.

        Args:
            counts: how many of the samples have each label, see `counts`.
        """

    def prepared(self, targets: torch.Tensor) -> torch.Tensor:
        """The targets in the units of the loss."""
        return targets

    def restored(self, outputs: torch.Tensor) -> torch.Tensor:
        """The network's outputs in the units of the labels."""
        return outputs

    @abstractmethod
    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The mean over the samples of a batch, from outputs and `prepared` targets."""

    @abstractmethod
    def tally(self, device: torch.device) -> Tally:
        """An empty evaluation."""

    @abstractmethod
    def addends(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """float64 (n, addends): what each sample adds to the sums that `score` computes `metric` from."""

    @abstractmethod
    def score(self, sums: np.ndarray[Any, Any], samples: int) -> float:
        """`metric` from the sums (addends,) of `samples` samples."""

    @abstractmethod
    def answers(self, outputs: torch.Tensor, top_k: int = 0) -> list[Answer | None]:
        """The answer for each row (outputs,) of a batch; None where it is not finite.

        Args:
            top_k: how many labels a classification answers with as `top`, the best first; 0 for no `top`.
        """

    @abstractmethod
    def compared(self, answer: Answer, other: Answer) -> tuple[bool, float]:
        """Whether another model of the task gives the same answer, and by how much its scores are higher on average.

        Raises:
            KeyError: the other answer has no common name with this one.
        """

    @abstractmethod
    def said(self, answer: Answer) -> str:
        """The answer in a few words."""


class NumbersTarget(Target):
    """A float32 number for each label, NaN where the target is unknown."""

    dtype = "f4"

    def __init__(self, labels: Sequence[str]) -> None:
        super().__init__(labels)
        self.shape = (len(self.labels),)
        self.unknown = [float("nan")] * len(self.labels)

    def known(self, targets: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        import numpy as np

        known: np.ndarray[Any, Any] = ~np.isnan(targets[:, 0])
        return known


def differences(numbers: Mapping[str, float], others: Mapping[str, float]) -> dict[str, float]:
    """By the names that both have, how much larger the others are.

    Raises:
        KeyError: there is no such name.
    """
    found = {name: others[name] - number for name, number in numbers.items() if name in others}
    if not found:
        raise KeyError(f"{list(others)!r:.100} and {list(numbers)!r:.100} have no name in common")
    return found


def plain_label(name: str) -> str:
    """A label's name in Unicode's NFC."""
    return name if name.isascii() else normalize("NFC", name)


def _compared(name: str) -> str:
    plain = plain_label(name)
    return untyped_text(plain) or plain
