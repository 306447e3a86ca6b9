"""The optimizer's state survives a checkpoint bit for bit, and the learning rate follows its curve."""

from __future__ import annotations

import pytest
import torch

from include.training.optimizer import (
    OptimizerName,
    expected_batches,
    learning_rate,
    make_optimizer,
    optimizer_tensors,
    restore_optimizer,
    set_learning_rate,
)


def steps(network: torch.nn.Module, optimizer: torch.optim.Optimizer, count: int) -> None:
    for number in range(count):
        optimizer.zero_grad()
        network(torch.full((3, 4), 0.1 * number + 1)).square().mean().backward()
        set_learning_rate(optimizer, 0.01 / (number + 1))
        optimizer.step()


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_a_restored_optimizer_goes_on_with_the_same_bits(name: OptimizerName) -> None:
    torch.manual_seed(1)
    network = torch.nn.Linear(4, 2)
    optimizer = make_optimizer(network.parameters(), weight_decay=0.01, name=name)
    steps(network, optimizer, 3)
    other = torch.nn.Linear(4, 2)
    other.load_state_dict(network.state_dict())
    restored = make_optimizer(other.parameters(), weight_decay=0.01, name=name)
    restore_optimizer(restored, {key: tensor.clone() for key, tensor in optimizer_tensors(optimizer).items()})

    steps(network, optimizer, 3)
    steps(other, restored, 3)

    assert all(torch.equal(one, two) for one, two in zip(network.parameters(), other.parameters(), strict=True))


def test_frozen_parameters_are_left_alone() -> None:
    network = torch.nn.Linear(4, 2)
    network.bias.requires_grad_(requires_grad=False)
    before = network.bias.clone()

    steps(network, make_optimizer(network.parameters(), weight_decay=0.5), 2)

    assert torch.equal(network.bias, before)


def test_the_learning_rate_rises_to_its_peak_and_falls_to_almost_nothing() -> None:
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
