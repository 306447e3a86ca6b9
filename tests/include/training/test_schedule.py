"""The learning rate over a training."""

from __future__ import annotations

import pytest

from include.training.schedule import expected_batches, learning_rate


def test_it_rises_to_its_peak_and_falls_to_almost_nothing() -> None:
    rates = [learning_rate(0.5, step / 100) for step in range(101)]
    top = rates.index(max(rates))
    assert rates[top] == pytest.approx(0.5)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert 0 < rates[-1] < 0.01


def test_progress_beyond_the_end_keeps_the_last_rate() -> None:
    assert learning_rate(0.5, 1.3) == learning_rate(0.5, 1.0)


def test_an_epoch_has_at_least_one_batch() -> None:
    assert expected_batches(0, 0.2, 64) == 1
    assert expected_batches(1000, 0.2, 64) == 13
