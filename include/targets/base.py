"""What a task has to say for itself, from the text of a label to the answer in a prediction."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from textwrap import shorten
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn, Protocol
from unicodedata import normalize

from include.field_text import untyped_text
from include.refusal import Refusal

if TYPE_CHECKING:
    import numpy as np
    import torch

Task = Literal["classification", "multi-label", "regression"]

# Of more labels a message has these many at most.
LISTED = 100

# What a prediction record says of a sample: JSON by field.
Answer = dict[str, Any]


class Tally(Protocol):
    """Adds up batches of an evaluation on the device that they are on; nothing is fetched from it before the end."""

    def add(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Outputs of the network (n, outputs) and the targets that belong to them."""

    def metrics(self) -> dict[str, float]:
        """By name; the target's own `metric` is among them, and all are finite where there were no samples too."""

    def confusion(self) -> np.ndarray[Any, Any] | None:
        """int64 (classes, classes), counts by true and predicted label; None where a sample has not exactly one."""


class Target(ABC):
    """One task over named labels.

    Attributes:
        task: as `[training] task` has it.
        metric: the one number that decides a promotion; higher is better and 1 is perfect.
        dtype, shape: of a target, in NumPy's notation.
        unknown: stands in for a target that could not be read.
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
        """Where a label is in `labels`, None where it is not; `3.0` and `3` are one class, as `True` and `true` are.

        A column of integers becomes one of floats with its first missing cell, and each program writes a truth value
        in its own way. Names are compared in Unicode's NFC, for macOS writes those of folders in NFD.
        """
        place = self._places.get(name)
        return self._places.get(_compared(name)) if place is None else place

    @abstractmethod
    def read(self, text: str) -> Any | Refusal:
        """The target that a label's text stands for, as NumPy takes it; or why it stands for none."""

    def unknown_label(self, name: str) -> Refusal:
        """Why a name that is not in `labels` is refused."""
        return Refusal("unknown-label", f"The label {name!r:.200} is not in training.labels ({self._listed}).")

    @abstractmethod
    def known(self, targets: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Booleans (n,): False where a target is the unknown one."""

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
        """The targets as the loss takes them."""
        return targets

    def restored(self, outputs: torch.Tensor) -> torch.Tensor:
        """The network's outputs in the units of the labels."""
        return outputs

    @abstractmethod
    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The mean over the samples of a batch, from outputs and `prepared` targets."""

    @abstractmethod
    def tally(self, device: torch.device) -> Tally:
        """An evaluation that has seen nothing yet."""

    @abstractmethod
    def answers(self, outputs: torch.Tensor) -> list[Answer | None]:
        """What each row (outputs,) of a batch says; None where it is not finite."""


def plain_label(name: str) -> str:
    """A label's name in Unicode's NFC."""
    return name if name.isascii() else normalize("NFC", name)


def _compared(name: str) -> str:
    plain = plain_label(name)
    return untyped_text(plain) or plain


def read_json(text: str) -> Any:
    """What the JSON holds, None for null and for what is none by RFC 8259."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is none of its numbers")
