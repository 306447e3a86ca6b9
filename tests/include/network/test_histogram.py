"""Histograms and the population stability index, against numbers by hand and by SciPy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.special import rel_entr

from include.network.histogram import BINS, Histogram, drift, histogram_of, stability_index


def smoothed(counts: Sequence[int]) -> np.ndarray:
    return (np.array(counts) + 0.5) / (sum(counts) + 0.5 * len(counts))


def test_many_numbers_have_ten_bins_of_equal_counts() -> None:
    found = histogram_of("mean", np.random.default_rng(1).permutation(1000).astype(np.float32))

    assert found.edges == tuple(range(99, 999, 100))
    assert found.counts == (100,) * BINS


def test_few_numbers_have_a_bin_each_and_the_gaps_are_bins_too() -> None:
    found = histogram_of("missing", np.array([0, 0, 0, 1, 1, 4], np.float32))

    assert found.counts == (0, 3, 0, 2, 0, 1, 0)
    assert found.count(np.array([-1, 0, 0.5, 1, 2, 3, 4, 5])) == (1, 1, 1, 1, 2, 1, 1)


def test_a_constant_that_changes_either_way_leaves_its_bin() -> None:
    found = histogram_of("deviation", np.zeros(200, np.float32))

    assert drift(found.counts, found.count(np.zeros(200))) == 0
    assert drift(found.counts, found.count(np.full(200, 1e-3))) > 1
    assert drift(found.counts, found.count(np.full(200, -1e-3))) > 1


def test_what_is_not_finite_is_left_out() -> None:
    numbers = np.array([np.nan, np.inf, 2.0])

    assert histogram_of("mean", numbers).total == 1
    assert histogram_of("mean", numbers[:2]) == Histogram(name="mean", edges=(), counts=(0,))


def test_the_index_of_two_bins_by_hand() -> None:
    p, q = 50.5 / 101, 75.5 / 101
    by_hand = (p - q) * math.log(p / q) + (q - p) * math.log((1 - p) / (1 - q))

    assert stability_index([50, 50], [75, 25]) == pytest.approx(by_hand)
    assert stability_index([50, 50], [75, 25]) == pytest.approx(0.2687, abs=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_the_index_is_the_sum_of_both_relative_entropies(seed: int) -> None:
    reference, found = np.random.default_rng(seed).integers(1, 100, (2, 8)).tolist()
    p, q = smoothed(reference), smoothed(found)

    assert stability_index(reference, found) == pytest.approx((rel_entr(p, q) + rel_entr(q, p)).sum())


def test_bins_that_are_empty_in_both_change_nothing() -> None:
    assert stability_index([5, 0, 7, 0], [6, 0, 1, 0]) == stability_index([5, 7], [6, 1])
    assert stability_index([0, 0], [0, 0]) == stability_index([], []) == 0


@pytest.mark.parametrize("labels", [3, 10, 200])
def test_samples_of_one_population_do_not_drift_however_many_labels_there_are(labels: int) -> None:
    """Without the correction, 200 labels give an index of more than 0.5 to 500 samples."""
    drawn = np.random.default_rng(2)
    shares = drawn.dirichlet(np.ones(labels))
    found = [drift(*drawn.multinomial(500, shares, 2).tolist()) for _ in range(200)]

    assert max(found) < 0.25
    assert np.mean(found) < 0.05


def test_a_shift_by_one_deviation_is_drift() -> None:
    drawn = np.random.default_rng(3)
    reference = histogram_of("mean", drawn.normal(size=500))

    assert drift(reference.counts, reference.count(drawn.normal(1, 1, size=500))) > 0.25


def test_without_samples_there_is_no_drift() -> None:
    assert drift([3, 4], [0, 0]) == drift([0, 0], [3, 4]) == 0
