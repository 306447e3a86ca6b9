"""Any subset of the labels, also the empty one."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any, ClassVar

from include.field_text import NoSingleText, field_text
from include.refusal import Refusal
from include.strict_json import json_or_none
from include.targets.base import Answer, NumbersTarget, Task, differences

if TYPE_CHECKING:
    import numpy as np
    import torch

THRESHOLD = 0.5


class MultiLabel(NumbersTarget):
    """A label is a JSON list of names, numbers or booleans, or names between separators; float32 zeros and ones are
    learnt by binary cross entropy, in nats, the mean over samples and labels.

    Its one number is micro-F1 (Manning et al., Introduction to Information Retrieval, 2008, ch. 13.6), which counts
    every label of every sample alike; 0 where there is no label and none is predicted. `subset_accuracy` is the share
    of samples that get exactly their own labels. A label counts as predicted from a probability of 0.5 on.

    It answers with `labels`, those predicted, and `scores`, the sigmoid probability of each by name.
    """

    task: ClassVar[Task] = "multi-label"
    metric = "micro_f1"

    def __init__(self, labels: Sequence[str], separator: str) -> None:
        super().__init__(labels)
        self._separator = separator

    def read(self, text: str) -> list[float] | Refusal:
        names = [name.strip() for name in text.split(self._separator)] if text.strip() else []
        if text.lstrip().startswith("["):
            listed = json_or_none(text)
            if not isinstance(listed, list):
                return Refusal("not-a-list", f"The label {text!r:.200} is no JSON list of names.")
            try:
                names = [_name_of(item) for item in listed]
            except NoSingleText as error:
                return Refusal("not-a-list", f"The label {text!r:.200} is no JSON list of names: {error}")
        places = [self.place_of(name) for name in names]
        if None in places:
            return self.unknown_label(names[places.index(None)])
        chosen = set(places)
        return [float(index in chosen) for index in range(len(self.labels))]

    def named(self, target: Any) -> frozenset[int]:
        return frozenset(place for place, given in enumerate(target) if given)

    def counts(self, targets: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        import numpy as np

        counts: np.ndarray[Any, Any] = targets.astype(np.int64).sum(axis=0)
        return counts

    def constant_score(self, counts: Sequence[int], samples: int) -> float:
        """The micro-F1 of the most frequent labels, as many of them as give the most."""
        present, best, hits = sum(counts), 0.0, 0
        for chosen, count in enumerate(sorted(counts, reverse=True), 1):
            hits += count
            best = max(best, 2 * hits / (chosen * samples + present) if samples else 0.0)
        return best

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        from torch.nn import functional

        return functional.binary_cross_entropy_with_logits(outputs, targets)

    def tally(self, device: torch.device) -> _Matches:
        return _Matches(device)

    def addends(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        import torch

        predicted, true = outputs >= 0, targets > 0
        return torch.stack([(predicted & true).sum(dim=1), predicted.sum(dim=1) + true.sum(dim=1)], dim=1).double()

    def score(self, sums: np.ndarray[Any, Any], samples: int) -> float:  # noqa: ARG002 - it counts labels
        return 2 * float(sums[0]) / max(float(sums[1]), 1)

    def answers(self, outputs: torch.Tensor, top_k: int = 0) -> list[Answer | None]:  # noqa: ARG002
        probabilities = outputs.sigmoid()
        finite = probabilities.isfinite().all(dim=1).tolist()
        return [self._answer(row) if good else None for row, good in zip(probabilities.tolist(), finite, strict=True)]

    def _answer(self, probabilities: list[float]) -> Answer:
        scores = dict(zip(self.labels, probabilities, strict=True))
        return {
            "labels": [name for name, score in scores.items() if score >= THRESHOLD],
            "scores": {name: round(score, 6) for name, score in scores.items()},
        }

    def compared(self, answer: Answer, other: Answer) -> tuple[bool, float]:
        apart = differences(answer["scores"], other["scores"])
        return set(answer["labels"]) == set(other["labels"]), fmean(apart.values())

    def said(self, answer: Answer) -> str:
        return ", ".join(f"{name} ({answer['scores'][name]:.4f})" for name in answer["labels"]) or "no label"


def _name_of(item: Any) -> str:
    name = None if isinstance(item, list) else field_text(item)
    if name is None:
        raise NoSingleText(f"{item!r:.60} is none.")
    return name


class _Matches:
    def __init__(self, device: torch.device) -> None:
        import torch

        # [true positives, predicted, actual, exact matches, samples]
        self._counts = torch.zeros(5, dtype=torch.int64, device=device)

    def add(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        import torch

        # A logit of 0 is a probability of a half.
        predicted, true = outputs >= 0, targets > 0
        right = (predicted == true).all(dim=1)
        found = [(predicted & true).sum(), predicted.sum(), true.sum(), right.sum()]
        self._counts += torch.stack([*found, torch.full_like(found[0], len(targets))])

    def metrics(self) -> dict[str, float]:
        both, predicted, true, right, samples = self._counts.tolist()
        return {"micro_f1": 2 * both / max(predicted + true, 1), "subset_accuracy": right / max(samples, 1)}

    def confusion(self) -> None:
        return None
