"""How long a new pipeline trains, and on how much at a time."""

from __future__ import annotations

import pytest

from include.commands.training_length import batch_size, epochs, window

MIB = 2**20


@pytest.mark.parametrize(
    ("samples", "expected"), [(3, 2), (20, 2), (100, 8), (511, 32), (512, 64), (100_000, 64)], ids=str
)
def test_an_epoch_of_few_samples_has_several_batches(samples: int, expected: int) -> None:
    assert batch_size(samples) == expected


@pytest.mark.parametrize(("samples", "expected"), [(20, 40), (600, 40), (1500, 18), (3000, 10), (10_000, 10)])
def test_few_samples_are_trained_on_more_often(samples: int, expected: int) -> None:
    assert epochs(samples) == expected


@pytest.mark.parametrize(
    ("samples", "largest", "expected"),
    [
        pytest.param(10_000, 1000, None, id="small samples have the default's window"),
        pytest.param(2000, 441_044, 256, id="5 s of 44.1 kHz"),
        pytest.param(200, 441_044, None, id="few samples"),
        pytest.param(10_000, 20 * MIB, 128, id="two batches of large samples"),
    ],
)
def test_two_windows_of_large_samples_have_a_quarter_of_a_gigabyte(
    samples: int, largest: int, expected: int | None
) -> None:
    assert window(samples, largest) == expected
