"""The interval of a lead: the same for the same seed, and around the true lead as often as it promises."""

from __future__ import annotations

import numpy as np

from include.network.bootstrap import lead_interval
from include.targets.classification import Classification

CLASSES = Classification(("a", "b"))
SEED = 5


def right(share: float, samples: int, random: np.random.Generator) -> np.ndarray:
    """Whether each sample is recognised, by a model that recognises this share."""
    return (random.random((samples, 1)) < share).astype(np.float64)


def test_the_same_seed_gives_the_same_interval_and_another_one_another() -> None:
    random = np.random.default_rng(SEED)
    ours, theirs = right(0.9, 200, random), right(0.8, 200, random)

    first = lead_interval(CLASSES, ours, theirs, 0.95, 1)

    assert lead_interval(CLASSES, ours, theirs, 0.95, 1) == first
    assert lead_interval(CLASSES, ours, theirs, 0.95, 2) != first


def test_a_model_has_no_lead_over_itself() -> None:
    ours = right(0.7, 100, np.random.default_rng(SEED))

    assert lead_interval(CLASSES, ours, ours, 0.95, 1) == (0.0, 0.0)


def test_the_interval_has_the_true_lead_as_often_as_it_promises() -> None:
    """80 % of 100 intervals; 4 standard deviations of that count are 16."""
    random = np.random.default_rng(SEED)
    covered = 0
    for seed in range(100):
        low, high = lead_interval(CLASSES, right(0.9, 150, random), right(0.8, 150, random), 0.8, seed)
        covered += low <= 0.1 <= high
    assert 64 <= covered <= 96


def test_a_higher_confidence_is_a_wider_interval() -> None:
    random = np.random.default_rng(SEED)
    ours, theirs = right(0.9, 200, random), right(0.8, 200, random)
    narrow, wide = (lead_interval(CLASSES, ours, theirs, confidence, 1) for confidence in (0.8, 0.99))

    assert wide[0] < narrow[0] < narrow[1] < wide[1]
