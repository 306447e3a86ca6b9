"""How good a model is on what it serves: its score and its calibration by labels that came after its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from include.network.histogram import BINS
from include.targets.regression import Regression

if TYPE_CHECKING:
    from include.targets.base import Target

# An answer as it was published, and the target that its label stands for, see `Target.read`.
Labelled = tuple[Mapping[str, Any], Any]


def live_score(target: Target, labelled: Sequence[Labelled]) -> float:
    """The target's metric over answers and their labels, as an evaluation computes it from a network's outputs."""
    import numpy as np

    sums = np.sum([_addends(target, answer, truth) for answer, truth in labelled], axis=0)
    return target.score(sums, len(labelled))


def calibration_error(target: Target, labelled: Sequence[Labelled]) -> float:
    """The expected calibration error of a classification (Guo et al., On Calibration of Modern Neural Networks, 2017).

    Answers are divided by their scores into ten bins of equal width. The error is the mean over the answers of the
    difference between the mean score of their bin and the share of it that is right: 0 is perfect, 1 the worst. Of
    several labels each one with its probability counts as an answer, which is right if it was given.
    """
    import numpy as np

    if target.task == "multi-label":
        scores = np.array([[answer["scores"][name] for name in target.labels] for answer, _ in labelled]).ravel()
        right = np.array([truth for _, truth in labelled], np.float64).ravel()
    else:
        scores = np.array([answer["score"] for answer, _ in labelled])
        right = np.array([target.right([answer["label"]], truth) for answer, truth in labelled], np.float64)
    bins = np.clip(np.ceil(scores * BINS).astype(int) - 1, 0, BINS - 1)
    apart = np.bincount(bins, scores - right, minlength=BINS)
    return float(np.abs(apart).sum() / len(scores))


def _addends(target: Target, answer: Mapping[str, Any], truth: Any) -> list[float]:
    """What one answer adds to the sums of `Target.score`."""
    import numpy as np

    if isinstance(target, Regression):
        mean, deviation = (
            (0.0, 1.0) if target.scale is None else map(np.array, (target.scale.mean, target.scale.deviation))
        )
        true = (np.array(truth) - mean) / deviation
        errors = true - (np.array([answer["values"][name] for name in target.labels]) - mean) / deviation
        addends: list[float] = np.concatenate([true, true**2, errors**2]).tolist()
        return addends
    if target.task == "multi-label":
        predicted, actual = {target.place_of(name) for name in answer["labels"]}, target.named(truth) or frozenset()
        return [len(predicted & actual), len(predicted) + len(actual)]
    return [bool(target.right([answer["label"]], truth))]
