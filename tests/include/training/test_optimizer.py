"""The optimizer's state survives a checkpoint: what follows has the same bits."""

from __future__ import annotations

import torch

from include.training.optimizer import make_optimizer, optimizer_tensors, restore_optimizer, set_learning_rate


def steps(network: torch.nn.Module, optimizer: torch.optim.AdamW, count: int) -> None:
    for number in range(count):
        optimizer.zero_grad()
        network(torch.full((3, 4), 0.1 * number + 1)).square().mean().backward()
        set_learning_rate(optimizer, 0.01 / (number + 1))
        optimizer.step()


def test_a_restored_optimizer_goes_on_with_the_same_bits() -> None:
    torch.manual_seed(1)
    network = torch.nn.Linear(4, 2)
    optimizer = make_optimizer(network.parameters(), weight_decay=0.01)
    steps(network, optimizer, 3)
    other = torch.nn.Linear(4, 2)
    other.load_state_dict(network.state_dict())
    restored = make_optimizer(other.parameters(), weight_decay=0.01)
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
