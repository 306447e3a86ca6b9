"""A Keras 3 model on its torch backend as a network like any other: its mode, its first weights and their names."""

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
# Of a variable without a name: how many the process has made before.
UNNAMED = re.compile(r"^variable_\d+$")


def is_keras(network: object) -> bool:
    """Whether it is a layer or a model of Keras, on whichever backend."""
    return any(base.__module__.partition(".")[0] == "keras" for base in type(network).__mro__)


@contextmanager
def seeded_as_torch() -> Iterator[None]:
    """Python's and NumPy's generators as torch's was seeded: Keras draws the seeds of its first weights from them."""
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
    """The model behind a network that is asked for zeros once, so that its variables are there.

    Keras goes by an argument and not by the mode of torch's modules, and names what has no name by how many the process
    has made before. Here parameters are named by the layer's position among those that have any, and by their own name:
    `0.kernel`, `0.bias`, `1.gamma`; the states of random layers come first.

    Raises:
        Exception: whatever the model raises over such inputs.
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
            """Tell a layer that its parameters are frozen, or the statistics of a normalisation would move."""
            frozen = {id(value) for group in self.children() if not group.training for value in group.parameters()}
            for layer in model._flatten_layers() if frozen else ():
                # Of itself and the layers in it; Keras lists the states of random numbers apart.
                if layer.trainable and layer.weights and all(id(weight.value) in frozen for weight in layer.weights):
                    layer.trainable = False

    network = KerasNetwork()
    for name in ("loss_of", "metrics_of"):
        if hasattr(model, name):
            setattr(network, name, getattr(model, name))
    return network


def _name_among(taken: Container[str], name: str) -> str:
    """A name of its own for each variable: two layers may have been given one name, and so their variables one path."""
    name = UNNAMED.sub("variable", name)
    names = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(1)))
    return next(name for name in names if name not in taken)
