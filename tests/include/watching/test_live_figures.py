"""The score and the calibration of published answers, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, f1_score, r2_score

from include.targets.classification import Classification
from include.targets.multi_label import MultiLabel
from include.targets.regression import Regression, Scale
from include.watching.figures import calibration_error, live_score

LABELS = ("a", "b", "c")
DRAWN = np.random.default_rng(7)


def test_the_score_of_a_classification_is_the_share_of_right_labels() -> None:
    predicted, true = DRAWN.integers(0, 3, (2, 100)).tolist()
    labelled = [({"label": LABELS[p], "score": 0.5}, t) for p, t in zip(predicted, true, strict=True)]

    assert live_score(Classification(LABELS), labelled) == pytest.approx(accuracy_score(true, predicted))


def test_the_score_of_several_labels_is_micro_f1() -> None:
    predicted, true = DRAWN.integers(0, 2, (2, 100, 3))
    labelled = [
        ({"labels": [LABELS[place] for place in np.flatnonzero(p)], "scores": {}}, t.tolist())
        for p, t in zip(predicted, true, strict=True)
    ]

    found = live_score(MultiLabel(LABELS, "|"), labelled)
    assert found == pytest.approx(f1_score(true, predicted, average="micro"))


@pytest.mark.parametrize("scale", [None, Scale((1e6, -3.0), (2.0, 0.5))])
def test_the_score_of_a_regression_is_r2(scale: Scale | None) -> None:
    true = DRAWN.normal((1e6, -3), (2, 0.5), (100, 2))
    predicted = true + DRAWN.normal(0, 0.3, (100, 2))
    labelled = [({"values": {"x": p[0], "y": p[1]}}, t.tolist()) for p, t in zip(predicted.tolist(), true, strict=True)]

    assert live_score(Regression(("x", "y"), scale=scale), labelled) == pytest.approx(
        r2_score(true, predicted), rel=1e-3
    )


def test_the_calibration_error_is_the_weighted_distance_of_the_curve_from_the_diagonal() -> None:
    scores = np.round(DRAWN.uniform(0.3, 1, 500), 6)
    right = DRAWN.uniform(size=500) < scores**2
    labelled = [({"label": "a", "score": s}, 0 if r else 1) for s, r in zip(scores.tolist(), right, strict=True)]

    shares, means = calibration_curve(right, scores, n_bins=10)
    counts = np.bincount(np.ceil(scores * 10).astype(int) - 1, minlength=10)
    by_curve = (np.abs(shares - means) * counts[counts > 0]).sum() / len(scores)
    assert calibration_error(Classification(LABELS), labelled) == pytest.approx(by_curve)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([(1.0, True)] * 4, 0),
        ([(1.0, False)] * 4, 1),
        ([(0.5, True), (0.5, False)], 0),
        # Two of four right in one bin at 0.95, one right at 0.35: (4 * 0.45 + 0.65) / 5.
        ([(0.95, True)] * 2 + [(0.95, False)] * 2 + [(0.35, True)], 0.49),
        ([(0.0, False), (0.0, True)], 0.5),
    ],
)
def test_the_calibration_error_by_hand(answers: list[tuple[float, bool]], expected: float) -> None:
    labelled = [({"label": "a", "score": score}, 0 if right else 1) for score, right in answers]

    assert calibration_error(Classification(LABELS), labelled) == pytest.approx(expected)


def test_the_calibration_error_of_several_labels_is_that_of_their_probabilities() -> None:
    scores = np.round(DRAWN.uniform(0, 1, (200, 3)), 6)
    given = DRAWN.uniform(size=(200, 3)) < scores**2
    several = [
        ({"labels": [], "scores": dict(zip(LABELS, s, strict=True))}, t)
        for s, t in zip(scores.tolist(), given.astype(float).tolist(), strict=True)
    ]
    each = [
        ({"label": "a", "score": s}, 0 if t else 1)
        for s, t in zip(scores.ravel().tolist(), given.ravel().tolist(), strict=True)
    ]

    found = calibration_error(MultiLabel(LABELS, "|"), several)
    assert found == pytest.approx(calibration_error(Classification(LABELS), each))
