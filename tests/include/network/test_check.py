"""Networks that can be called once, and would fail later: while they are trained, with few samples, or when saved."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from include.models.base import ModelDefinition
from include.network.check import UntrainableNetwork, check_trainable
from include.targets.classification import Classification
from tests.support.assertions import assert_readable

SHAPE, OUTPUTS = (1, 8, 8), 3
FILE = "mine.toml"


class Model(ModelDefinition):
    """A pipeline's own network, by the function that makes it."""

    kind: str = "nets:Net"
    make: Callable[[], nn.Module]

    def build(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:  # noqa: ARG002 - the definition says so
        return self.make()


def check(make: Callable[[], nn.Module]) -> None:
    check_trainable(Model(make=make), SHAPE, Classification(["a", "b", "c"]), file=FILE)


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


def layers() -> tuple[nn.Module, ...]:
    return nn.Flatten(), nn.Linear(64, OUTPUTS)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Auxiliary, ("returns a tuple for a batch of 2 in training mode", "logits")),
        (Squeezing, ("shape (3,) for a batch of 1 in evaluation mode", "(1, 3)", "flatten(1)")),
        (lambda: FailingInTraining(*layers()), ("fails for a batch of 2 in training mode", "no gradient for that")),
        (lambda: Remembering(persistent=True), ("size mismatch for seen", "persistent=False")),
        (lambda: Counting(*layers()), ("'_extra_state' of type dict", "buffer")),
    ],
)
def test_a_network_that_would_fail_later_is_refused_before_the_training(make, words):
    with pytest.raises(UntrainableNetwork) as refused:
        check(make)

    assert_readable(refused.value, f"In {FILE} [model] kind = 'nets:Net'", *words)


def test_a_buffer_that_is_not_saved_may_have_the_shape_of_a_batch():
    check(lambda: Remembering(persistent=False))


def test_tied_weights_can_be_saved():
    def tied() -> nn.Module:
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, OUTPUTS))
        network[2].weight = network[1].weight
        return network

    check(tied)


def test_the_check_leaves_the_generators_as_they_were():
    """The network that is trained begins with the weights that it would have without the check."""
    draws = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()

    check(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, OUTPUTS)))

    assert random.getstate() == draws[0]
    assert np.random.get_state()[1].tolist() == draws[1]
    assert torch.equal(torch.get_rng_state(), draws[2])
