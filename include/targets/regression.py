"""One or several numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from include.refusal import Refusal
from include.strict_json import json_or_none
from include.targets.base import Answer, NumbersTarget, Task, differences

if TYPE_CHECKING:
    import numpy as np
    import torch

RegressionLoss = Literal["mse", "huber"]
# Two answers are the same where no number differs by more, in standard deviations of the training's numbers.
TOLERANCE = 0.1


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of each number over the training samples; the network learns normalised numbers.

    Without it, a network would need its first epochs to find the numbers' magnitude, and of several numbers would learn
    mainly the largest.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]


class Regression(NumbersTarget):
    """A label is a JSON number, or a list of them in the order of `labels`; float32 values are learnt by the mean
    squared error or by Huber's loss (Annals of Mathematical Statistics, 1964), the mean over samples and numbers.

    Its one number is R², the mean over the numbers where there are several: 1 is perfect, 0 as good as always answering
    the mean of the samples that are evaluated, less is worse. `mae` is the mean absolute error in the labels' units.

    It answers with `values`, by name.
    """

    task: ClassVar[Task] = "regression"
    metric = "r2"

    def __init__(self, labels: Sequence[str], loss: RegressionLoss = "mse", scale: Scale | None = None) -> None:
        super().__init__(labels)
        self.scale = scale
        self._loss = loss

    def read(self, text: str) -> list[float] | Refusal:
        import numpy as np

        parsed = json_or_none(text)
        values = parsed if isinstance(parsed, list) else [parsed]
        if not all(isinstance(value, float | int) and not isinstance(value, bool) for value in values):
            return Refusal("not-a-number", f"The label {text!r:.200} is neither a JSON number nor a list of numbers.")
        if len(values) != len(self.labels):
            error = f"The label {text!r:.200} has {len(values)} numbers and training.labels {len(self.labels)} names."
            return Refusal("wrong-count", error)
        largest = float(np.finfo(np.float32).max)
        if not all(-largest <= value <= largest for value in values):
            return Refusal("not-a-number", f"The label {text!r:.200} has a number beyond float32.")
        return [float(value) for value in values]

    def named(self, target: Any) -> None:  # noqa: ARG002 - it is numbers
        return None

    def counts(self, targets: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        import numpy as np

        return np.full(len(self.labels), len(targets), np.int64)

    def constant_score(self, counts: Sequence[int], samples: int) -> float:  # noqa: ARG002 - of any numbers
        """0: that is the R² of the mean."""
        return 0.0

    def prepared(self, targets: torch.Tensor) -> torch.Tensor:
        if self.scale is None:
            return targets
        mean, deviation = self._tensors(targets.device)
        return ((targets.double() - mean) / deviation).float()

    def restored(self, outputs: torch.Tensor) -> torch.Tensor:
        """float64, because a number may be small beside its mean."""
        if self.scale is None:
            return outputs.double()
        mean, deviation = self._tensors(outputs.device)
        return outputs.double() * deviation + mean

    def _tensors(self, device: torch.device) -> list[torch.Tensor]:
        import torch

        if self.scale is None:
            raise ValueError("Only a scaled target has a mean and a deviation.")
        return [torch.tensor(part, dtype=torch.float64, device=device) for part in astuple(self.scale)]

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        from torch.nn import functional

        loss = functional.mse_loss if self._loss == "mse" else functional.huber_loss
        return loss(outputs, targets)

    def tally(self, device: torch.device) -> _Errors:
        return _Errors(self, device)

    def addends(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """In units of the scale, where there is one: squares of large numbers would lose their variance to rounding."""
        import torch

        true, errors = targets.double(), self.restored(outputs) - targets.double()
        if self.scale is not None:
            mean, deviation = self._tensors(targets.device)
            true, errors = (true - mean) / deviation, errors / deviation
        return torch.cat([true, true.square(), errors.square()], dim=1)

    def score(self, sums: np.ndarray[Any, Any], samples: int) -> float:
        rows = sums.reshape(3, -1).T.tolist()
        explained = [_r2(squares - total**2 / max(samples, 1), error) for total, squares, error in rows]
        return math.fsum(explained) / len(rows) if samples else 0.0

    def answers(self, outputs: torch.Tensor, top_k: int = 0) -> list[Answer | None]:  # noqa: ARG002
        values = self.restored(outputs)
        finite = values.isfinite().all(dim=1).tolist()
        return [
            # A float32 label has seven digits.
            {"values": {name: float(f"{value:.7g}") for name, value in zip(self.labels, row, strict=True)}}
            if good
            else None
            for row, good in zip(values.tolist(), finite, strict=True)
        ]

    def compared(self, answer: Answer, other: Answer) -> tuple[bool, float]:
        """In units of the scale, where there is one."""
        units = dict(zip(self.labels, self.scale.deviation, strict=True)) if self.scale is not None else {}
        apart = differences(answer["values"], other["values"])
        scaled = [difference / units.get(name, 1.0) for name, difference in apart.items()]
        return max(map(abs, scaled)) <= TOLERANCE, fmean(scaled)

    def said(self, answer: Answer) -> str:
        return ", ".join(f"{name} {value:g}" for name, value in answer["values"].items())


class _Errors:
    def __init__(self, target: Regression, device: torch.device) -> None:
        import torch

        self._target = target
        # For each number in float64, the sums of: deviation, squared deviation, absolute error, squared error.
        self._sums = torch.zeros(4, len(target.labels), dtype=torch.float64, device=device)
        self._samples = 0
        self._first: torch.Tensor | None = None

    def add(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        import torch

        true = targets.double()
        if self._first is None:
            # Deviations from the first target: squares of large numbers would lose their variance to rounding.
            self._first = true[0]
        centred, errors = true - self._first, self._target.restored(outputs) - true
        parts = (centred, centred.square(), errors.abs(), errors.square())
        self._sums += torch.stack([part.sum(dim=0) for part in parts])
        self._samples += len(targets)

    def metrics(self) -> dict[str, float]:
        rows = self._sums.T.tolist()
        samples = max(self._samples, 1)
        explained = [_r2(squares - total**2 / samples, error) for total, squares, _, error in rows]
        return {
            "r2": math.fsum(explained) / len(rows) if self._samples else 0.0,
            "mae": math.fsum(absolute for _, _, absolute, _ in rows) / (samples * len(rows)),
        }

    def confusion(self) -> None:
        return None


def _r2(variation: float, error: float) -> float:
    """As scikit-learn's `r2_score`: for constant numbers, 1 where all predictions are exact and else 0."""
    if variation <= 0:
        return float(error == 0)
    return 1 - error / variation


class ScaleFinder:
    """Computes the scale from batches of targets; in the same order, the result is the same to the bit."""

    def __init__(self) -> None:
        self._samples = 0
        self._mean: np.ndarray[Any, Any] | None = None
        self._squares: np.ndarray[Any, Any] | None = None

    def add(self, targets: np.ndarray[Any, Any]) -> None:
        """Add targets (n, numbers), by the update of Chan, Golub and LeVeque (COMPSTAT 1982)."""
        import numpy as np

        count = len(targets)
        if not count:
            return
        values = targets.astype(np.float64)
        mean = values.mean(axis=0)
        squares = np.square(values - mean).sum(axis=0)
        if self._mean is None or self._squares is None:
            self._samples, self._mean, self._squares = count, mean, squares
            return
        both = self._samples + count
        apart = mean - self._mean
        self._squares = self._squares + squares + np.square(apart) * (self._samples * count / both)
        self._mean = self._mean + apart * (count / both)
        self._samples = both

    def scale(self) -> Scale | None:
        """The scale; None without targets. A constant number has deviation 1."""
        import numpy as np

        if self._mean is None or self._squares is None:
            return None
        deviation = np.sqrt(self._squares / self._samples)
        # A constant has a small deviation from rounding.
        deviation[deviation <= np.abs(self._mean) * 1e-7] = 1.0
        return Scale(tuple(self._mean.tolist()), tuple(deviation.tolist()))
