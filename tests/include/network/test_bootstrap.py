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

    first = lead_interval(CLASSES, ours, theirs, range(200), 0.95, 1)

    assert lead_interval(CLASSES, ours, theirs, range(200), 0.95, 1) == first
    assert lead_interval(CLASSES, ours, theirs, range(200), 0.95, 2) != first


def test_a_model_has_no_lead_over_itself() -> None:
    ours = right(0.7, 100, np.random.default_rng(SEED))

    assert lead_interval(CLASSES, ours, ours, range(100), 0.95, 1) == (0.0, 0.0)


def test_the_interval_has_the_true_lead_as_often_as_it_promises() -> None:
    """80 % of 100 intervals; 4 standard deviations of that count are 16."""
    random = np.random.default_rng(SEED)
    covered = 0
    for seed in range(100):
        ours, theirs = right(0.9, 150, random), right(0.8, 150, random)
        low, high = lead_interval(CLASSES, ours, theirs, range(150), 0.8, seed)
        covered += low <= 0.1 <= high
    assert 64 <= covered <= 96


def test_samples_of_a_group_do_not_count_as_independent() -> None:
    """100 speakers with 10 recordings each, all of which a model recognises, or none."""
    random = np.random.default_rng(SEED)
    speakers = np.arange(1000) // 10
    covered, mistaken = 0, 0
    for seed in range(100):
        ours, theirs = right(0.9, 100, random)[speakers], right(0.8, 100, random)[speakers]
        low, high = lead_interval(CLASSES, ours, theirs, speakers.tolist(), 0.8, seed)
        covered += low <= 0.1 <= high
        low, high = lead_interval(CLASSES, ours, theirs, range(1000), 0.8, seed)
        mistaken += not low <= 0.1 <= high
    assert 64 <= covered <= 96
    assert mistaken > 50


def test_one_group_shows_no_lead() -> None:
    ours, theirs = np.ones((10, 1)), np.zeros((10, 1))

    assert lead_interval(CLASSES, ours, theirs, [7] * 10, 0.95, 1) == (-np.inf, np.inf)


def test_a_higher_confidence_is_a_wider_interval() -> None:
    random = np.random.default_rng(SEED)
    ours, theirs = right(0.9, 200, random), right(0.8, 200, random)
    narrow, wide = (lead_interval(CLASSES, ours, theirs, range(200), confidence, 1) for confidence in (0.8, 0.99))

    assert wide[0] < narrow[0] < narrow[1] < wide[1]
