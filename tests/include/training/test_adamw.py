"""AdamW over the fused kernel: its formula, and its state."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from include.training.adamw import AdamW


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


def backward(net: nn.Module, seed: int) -> None:
    inputs = torch.randn(16, 4, generator=torch.Generator().manual_seed(seed))
    net(inputs).square().mean().backward()


def test_it_moves_by_the_papers_formula() -> None:
    net = network()
    weight = net[0].weight
    optimizer = AdamW(net.parameters(), weight_decay=0.1)
    expected = weight.detach().double()
    mean, square = torch.zeros_like(expected), torch.zeros_like(expected)
    for step in range(1, 21):
        rate = 0.01 / step
        optimizer.zero_grad()
        backward(net, step)
        gradient = weight.grad.double()
        optimizer.step(rate)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        unbiased = (mean / (1 - 0.9**step)) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
        expected = expected - rate * (unbiased + 0.1 * expected)
    assert (weight.detach() - expected).abs().max() < 1e-6


def test_a_restored_optimizer_goes_on_with_the_same_bits() -> None:
    one, other = network(), network()
    optimizer = AdamW(one.parameters(), weight_decay=0.1)
    for step in range(3):
        optimizer.zero_grad()
        backward(one, step)
        optimizer.step(0.01)
    other.load_state_dict(one.state_dict())
    restored = AdamW(other.parameters(), weight_decay=0.1)
    restored.load_state_dict({name: tensor.clone() for name, tensor in optimizer.state_dict().items()})
    for net, stepping in ((one, optimizer), (other, restored)):
        stepping.zero_grad()
        backward(net, 3)
        stepping.step(0.01)
    for mine, others in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, others)


def test_a_parameter_without_a_gradient_is_left_alone() -> None:
    net = network()
    before = net[2].weight.clone()
    optimizer = AdamW(net.parameters(), weight_decay=0.1)
    net[0](torch.ones(2, 4)).sum().backward()
    optimizer.step(0.1)
    assert torch.equal(net[2].weight, before)


def test_a_frozen_parameter_has_no_state() -> None:
    net = network()
    net[0].requires_grad_(False)
    assert len(AdamW(net.parameters(), weight_decay=0).state_dict()) == 2 * 3


def test_the_state_of_another_network_is_refused() -> None:
    state = AdamW(nn.Linear(2, 2).parameters(), weight_decay=0).state_dict()
    with pytest.raises(ValueError, match="another network"):
        AdamW(network().parameters(), weight_decay=0).load_state_dict(state)
