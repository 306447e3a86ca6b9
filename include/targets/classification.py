"""One of several classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from include.refusal import Refusal
from include.targets.base import Answer, Target, Task

if TYPE_CHECKING:
    import numpy as np
    import torch


class Classification(Target):
    """A label is the name of a class; int64 indices are learnt by cross entropy, in nats.

    It answers with `label` and `score`, the softmax probability of that label, and with the same of the best ones as
    `top` where they are asked for.
    """

    task: ClassVar[Task] = "classification"
    metric = "accuracy"
    dtype = "i8"
    shape = ()
    unknown = -1

    def read(self, text: str) -> int | Refusal:
        index = self.place_of(text)
        return self.unknown_label(text) if index is None else index

    def named(self, target: Any) -> frozenset[int]:
        return frozenset([target])

    def known(self, targets: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return targets >= 0

    def counts(self, targets: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        import numpy as np

        return np.bincount(targets, minlength=len(self.labels))

    def constant_score(self, counts: Sequence[int], samples: int) -> float:
        return max(counts) / max(samples, 1)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        from torch.nn import functional

        return functional.cross_entropy(outputs, targets)

    def tally(self, device: torch.device) -> _Confusion:
        return _Confusion(len(self.labels), device)

    def addends(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (outputs.argmax(dim=1) == targets).double()[:, None]

    def score(self, sums: np.ndarray[Any, Any], samples: int) -> float:
        return float(sums[0]) / max(samples, 1)

    def answers(self, outputs: torch.Tensor, top_k: int = 0) -> list[Answer | None]:
        scores = outputs.softmax(dim=1)
        best = scores.max(dim=1)
        answers: list[Answer | None] = [
            # NaN is the only number that differs from itself.
            self._named(score, index) if score == score else None  # noqa: PLR0124
            for score, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]
        if top_k:
            # Stable: of equal scores the first is the label, as it is to `max`.
            sorted_scores, places = scores.sort(dim=1, descending=True, stable=True)
            rows = zip(sorted_scores[:, :top_k].tolist(), places[:, :top_k].tolist(), strict=True)
            for answer, (row, indices) in zip(answers, rows, strict=True):
                if answer is not None:
                    answer["top"] = [self._named(*pair) for pair in zip(row, indices, strict=True)]
        return answers

    def _named(self, score: float, index: int) -> Answer:
        return {"label": self.labels[index], "score": round(score, 6)}

    def compared(self, answer: Answer, other: Answer) -> tuple[bool, float]:
        return answer["label"] == other["label"], other["score"] - answer["score"]

    def said(self, answer: Answer) -> str:
        return f"{answer['label']} ({answer['score']:.4f})"


class _Confusion:
    def __init__(self, classes: int, device: torch.device) -> None:
        import torch

        self._classes = classes
        self._counts = torch.zeros(classes * classes, dtype=torch.int64, device=device)

    def add(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        import torch

        cells = targets * self._classes + outputs.argmax(dim=1)
        self._counts += torch.bincount(cells, minlength=len(self._counts))

    def metrics(self) -> dict[str, float]:
        counts = self.confusion()
        return {"accuracy": int(counts.trace()) / max(int(counts.sum()), 1)}

    def confusion(self) -> np.ndarray[Any, Any]:
        counts: np.ndarray[Any, Any] = self._counts.reshape(self._classes, self._classes).cpu().numpy()
        return counts
