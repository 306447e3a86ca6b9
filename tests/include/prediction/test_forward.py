"""The samples at which a network fails are found, and the outputs for the others do not change."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from include.prediction.forward import NetworkFailed, forward
from tests.support.assertions import assert_readable

SAMPLES = 37


class Failing(nn.Module):
    """A network that raises when one of its samples begins with a number below zero."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.batches = 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.batches += 1
        if (inputs[:, 0, 0, 0] < 0).any():
            raise IndexError("index out of range in self")
        outputs: torch.Tensor = self.network(inputs)
        return outputs


class Raising(nn.Module):
    """A network that raises `error` when it is given at least `samples`."""

    def __init__(self, error: Exception, samples: int = 1) -> None:
        super().__init__()
        self.error = error
        self.samples = samples

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if len(inputs) >= self.samples:
            raise self.error
        return inputs.flatten(1)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """One whose last bits differ with the size of the batch."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 1000), nn.ReLU(), nn.Linear(1000, 10))


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(SAMPLES, 1, 28, 28, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    "bad", [{0}, {36}, {17, 18}, set(range(0, SAMPLES, 2)), set(range(1, SAMPLES))], ids=lambda bad: f"{len(bad)} bad"
)
def test_a_sample_that_fails_changes_no_bit_of_its_neighbours(network, images, bad):
    expected = forward(network, images, torch.Tensor.tolist)
    for row in bad:
        images[row, 0, 0, 0] = -1

    results = forward(Failing(network), images, torch.Tensor.tolist)

    assert {row for row, result in enumerate(results) if isinstance(result, str)} == bad
    assert all("IndexError: index out of range" in results[row] for row in bad)
    assert [result for row, result in enumerate(results) if row not in bad] == [
        result for row, result in enumerate(expected) if row not in bad
    ]


def test_one_sample_among_many_is_found_in_a_few_batches(network):
    images = torch.rand(512, 1, 28, 28)
    images[300, 0, 0, 0] = -1
    failing = Failing(network)

    forward(failing, images, torch.Tensor.tolist)

    assert failing.batches <= 2 + 2 * 9


@pytest.mark.parametrize("samples", [1, SAMPLES])
def test_if_every_sample_fails_and_zeros_do_not_each_sample_is_refused(network, images, samples):
    images[:, 0, 0, 0] = -1

    assert all(isinstance(result, str) for result in forward(Failing(network), images[:samples], torch.Tensor.tolist))


@pytest.mark.parametrize(
    "network",
    [
        Raising(ValueError("wrong weights")),
        Raising(ValueError("too many"), samples=SAMPLES),
        Raising(MemoryError()),
        Raising(torch.OutOfMemoryError("CUDA out of memory")),
        Raising(RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory"), samples=2),
        nn.Flatten(0),
    ],
    ids=["always", "together only", "memory", "the device's memory", "torch's memory", "no classes"],
)
def test_a_failure_without_a_failing_sample_refuses_none(network, images):
    with pytest.raises(NetworkFailed) as failure:
        forward(network, images, torch.Tensor.tolist)

    assert_readable(failure.value, "nothing of this chunk was published")


def test_a_long_error_of_several_lines_is_cut_to_one_line(network, images):
    class Talking(Failing):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            try:
                return super().forward(inputs)
            except IndexError as error:
                raise IndexError("much\n" * 100_000) from error

    images[3, 0, 0, 0] = -1

    (error,) = [result for result in forward(Talking(network), images, torch.Tensor.tolist) if isinstance(result, str)]

    assert len(error) < 600
    assert "\n" not in error
