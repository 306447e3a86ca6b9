"""Networks that can be called once, and would fail later: while they are trained, with few samples, or when saved."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

from include.network.check import UntrainableNetwork, check_trainable
from tests.support.assertions import assert_readable

SHAPE, OUTPUTS = (1, 8, 8), 3
KIND = "In mine.toml [model] kind = 'nets:Net'"


def check(network: nn.Module) -> None:
    check_trainable(network, SHAPE, OUTPUTS, kind=KIND)


class Auxiliary(nn.Module):
    """As Inception v3 and GoogLeNet: two outputs while it is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.main, self.auxiliary = nn.Linear(64, OUTPUTS), nn.Linear(64, OUTPUTS)

    def forward(self, inputs):
        flat = inputs.flatten(1)
        return (self.main(flat), self.auxiliary(flat)) if self.training else self.main(flat)


class Squeezing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(64, OUTPUTS)

    def forward(self, inputs):
        return self.last(inputs.flatten(1)).squeeze()


class FailingInTraining(nn.Sequential):
    def forward(self, inputs):
        if self.training:
            raise RuntimeError("no gradient for that")
        return super().forward(inputs)


class Counting(nn.Sequential):
    """State that is no tensor."""

    def get_extra_state(self):
        return {"seen": 3}

    def set_extra_state(self, state):
        pass


class Remembering(nn.Module):
    """A buffer of the last batch."""

    def __init__(self, *, persistent: bool) -> None:
        super().__init__()
        self.last = nn.Linear(64, OUTPUTS)
        self.register_buffer("seen", torch.zeros(2, OUTPUTS), persistent=persistent)

    def forward(self, inputs):
        self.seen = self.last(inputs.flatten(1)).detach()
        return self.seen


LAYERS = (nn.Flatten(), nn.Linear(64, OUTPUTS))


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (Auxiliary(), ("returns a tuple for a batch of 2 in training mode", "logits")),
        (Squeezing(), ("shape (3,) for a batch of 1 in evaluation mode", "(1, 3)", "flatten(1)")),
        (FailingInTraining(*LAYERS), ("fails for a batch of 2 in training mode", "no gradient for that")),
        (Remembering(persistent=True), ("'seen' of shape (2, 3)", "(1, 3) for a batch of 1", "persistent=False")),
        (Counting(*LAYERS), ("'_extra_state' of type dict", "buffer")),
    ],
)
def test_a_network_that_would_fail_later_is_refused_before_the_training(network, words):
    with pytest.raises(UntrainableNetwork) as refused:
        check(network)

    assert_readable(refused.value, KIND, *words)


def test_the_check_leaves_buffers_modes_and_generators_as_they_were():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, OUTPUTS))
    network.eval()
    network[3].train()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    draws = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()

    check(network)

    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert [module.training for module in network] == [False, False, False, True, False]
    assert random.getstate() == draws[0]
    assert np.random.get_state()[1].tolist() == draws[1]
    assert torch.equal(torch.get_rng_state(), draws[2])


class Averaging(nn.Sequential):
    """As Keras layers, whose moving averages and seeds are parameters here."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.average = nn.Parameter(torch.ones(OUTPUTS), requires_grad=False)

    def forward(self, inputs):
        for layer in LAYERS:
            inputs = layer(inputs)
        if self.training:
            self.average.copy_(0.9 * self.average + 0.1 * inputs.mean(0))
        return inputs - self.average


def test_the_check_leaves_parameters_that_a_call_changes_as_they_were():
    network = Averaging(*LAYERS)

    check(network)

    assert network.average.tolist() == [1.0] * OUTPUTS


def test_a_buffer_that_is_not_saved_may_have_the_shape_of_a_batch():
    network = Remembering(persistent=False)

    check(network)

    assert network.seen.shape == (2, OUTPUTS)


def test_tied_weights_can_be_saved():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, OUTPUTS))
    network[2].weight = network[1].weight

    check(network)
