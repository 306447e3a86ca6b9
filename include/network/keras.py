"""A Keras 3 model on its torch backend as a `torch.nn.Module`: its mode, its initial weights and their names."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Container, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

SEEDS = "seed_generator_state"
# Keras numbers unnamed variables by how many the process has created before.
UNNAMED = re.compile(r"^variable_\d+$")


def is_keras(network: object) -> bool:
    """Whether it is a Keras layer or model, on any backend."""
    return any(base.__module__.partition(".")[0] == "keras" for base in type(network).__mro__)


@contextmanager
def seeded_as_torch() -> Iterator[None]:
    """Seed Python's and NumPy's generators as torch's: Keras draws the seeds of its initial weights from them."""
    import numpy as np
    import torch

    pythons, numpys = random.getstate(), np.random.get_state()
    random.seed(torch.initial_seed())
    np.random.seed(torch.initial_seed() % 2**32)
    try:
        yield
    finally:
        random.setstate(pythons)
        np.random.set_state(numpys)


def keras_network(model: Any, input_shape: tuple[int, ...]) -> nn.Module:
    """The model as a torch module, called once with zeros so that its variables exist.

    Keras takes the training mode as an argument and not from torch's modules, and its names depend on how many layers
    the process has created before. Here a parameter is named by its layer's position among the layers with parameters,
    and by its own name: `0.kernel`, `0.bias`, `1.gamma`. The states of random layers come first.

    Raises:
        Exception: whatever the model raises for these inputs.
    """
    import torch
    from torch import nn

    with torch.no_grad():
        model(torch.zeros(2, *input_shape))

    class KerasNetwork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            groups: dict[str, dict[str, nn.Parameter]] = {}
            for variable in model.variables:
                layer, _, name = variable.path.rpartition("/")
                group = groups.setdefault(layer, {})
                group[_name_among(group, name)] = variable.value
            for layer in (first := [layer for layer in groups if SEEDS in groups[layer]]):
                self.add_module(f"seeds_{first.index(layer)}", nn.ParameterDict(groups.pop(layer)))
            for position, group in enumerate(groups.values()):
                self.add_module(str(position), nn.ParameterDict(group))

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            if self.training:
                self._hold_frozen()
            outputs: torch.Tensor = model(inputs, training=self.training)
            return outputs

        def _hold_frozen(self) -> None:
            """Mark frozen layers as not trainable; otherwise the statistics of a normalisation would change."""
            frozen = {id(value) for group in self.children() if not group.training for value in group.parameters()}
            for layer in model._flatten_layers() if frozen else ():
                # The weights include those of inner layers, but not the states of random layers.
                if layer.trainable and layer.weights and all(id(weight.value) in frozen for weight in layer.weights):
                    layer.trainable = False

    network = KerasNetwork()
    for name in ("loss_of", "metrics_of"):
        if hasattr(model, name):
            setattr(network, name, getattr(model, name))
    return network


def _name_among(taken: Container[str], name: str) -> str:
    """A unique name for each variable: two layers of the same name give their variables the same path."""
    name = UNNAMED.sub("variable", name)
    names = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(1)))
    return next(name for name in names if name not in taken)
