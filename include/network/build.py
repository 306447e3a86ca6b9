"""Building a network, and checking it with a batch of zeros before it is trained."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from include.errors import PermanentError, one_line
from include.models.base import ModelDefinition, loss_function, own_metrics
from include.network.keras import is_keras, keras_network, seeded_as_torch
from include.targets.base import Target

if TYPE_CHECKING:
    import torch
    from torch import nn


# With one sample, a network that swaps samples and outputs would go unnoticed.
SAMPLES = 2
OWN_NAMES = ("loss", "samples")
# MLflow accepts few other characters, and would refuse the name only after the training.
METRIC_NAME = re.compile(r"[^\W_][\w.-]*")


class WrongNetwork(PermanentError):
    """The `[model]` table gives no network that fits the pipeline's format and labels."""


def build_network(model: ModelDefinition, input_shape: tuple[int, ...], target: Target, *, file: str) -> nn.Module:
    """The network in evaluation mode, on the CPU, with the parameters that lazy layers create at their first call.

    The check draws nothing from torch's generator; only building the network does.

    Args:
        file: name of the pipeline's file, for errors.

    Raises:
        WrongNetwork: it can't be built, is no network, does not take the inputs, or does not have one output per label.
    """
    import torch
    from torch import nn

    outputs = len(target.labels)
    try:
        with seeded_as_torch():
            network = model.build(input_shape, outputs)
    except ValueError as error:
        raise WrongNetwork(f"In {file} the model does not fit: {error}") from error
    kind = f"In {file} [model] kind = {model.kind!r}"
    if not isinstance(network, nn.Module):
        keras = "; a Keras model is one with KERAS_BACKEND=torch in the environment" if is_keras(network) else ""
        raise WrongNetwork(
            f"{kind} returns a {type(network).__module__}.{type(network).__name__} and no torch.nn.Module{keras}: "
            "return the network."
        )
    with torch.random.fork_rng(devices=[]), torch.no_grad(), seeded_as_torch():
        try:
            network = keras_network(network, input_shape) if is_keras(network) else network
            found = network.eval()(torch.zeros(SAMPLES, *input_shape))
        except Exception as error:
            raise WrongNetwork(
                f"{kind} does not take inputs of shape {input_shape}, those of [format] ({one_line(error)}): correct "
                "the network, or choose another."
            ) from error
        _check_outputs(found, outputs, kind)
        _check_methods(network, found, target, kind)
    return network


def _check_outputs(found: object, outputs: int, kind: str) -> None:
    import torch

    wanted = f"({SAMPLES}, {outputs}), one number for each of training.labels"
    if not isinstance(found, torch.Tensor) or not found.is_floating_point():
        kind_of_output = f"a {found.dtype} tensor" if isinstance(found, torch.Tensor) else f"a {type(found).__name__}"
        raise WrongNetwork(f"{kind} returns {kind_of_output}: let it return a float32 tensor of shape {wanted}.")
    if tuple(found.shape) != (SAMPLES, outputs):
        raise WrongNetwork(
            f"{kind} returns a tensor of shape {tuple(found.shape)} for {SAMPLES} samples, which should be {wanted}: "
            "correct its last layer, or the labels."
        )


def _check_methods(network: nn.Module, found: torch.Tensor, target: Target, kind: str) -> None:
    """Call the network's own loss and metrics, so that a fault in them does not cost an epoch."""
    import numpy as np
    import torch

    # The outputs of Keras are on a GPU where there is one.
    truth = torch.from_numpy(np.zeros((SAMPLES, *target.shape), target.dtype)).to(found.device)
    try:
        loss = loss_function(network, target)(found, truth)
        metrics = own_metrics(network, target.restored(found), truth)
        named = {name: float(value) for name, value in metrics.items()}
        scalar = isinstance(loss, torch.Tensor) and loss.ndim == 0
    except Exception as error:
        raise WrongNetwork(f"{kind} fails in loss_of or metrics_of ({one_line(error)}): correct the method.") from error
    if not scalar:
        raise WrongNetwork(f"{kind} has a loss_of that returns no scalar tensor: return the mean over the batch.")
    if unfit := [name for name in named if not METRIC_NAME.fullmatch(name)]:
        raise WrongNetwork(
            f"{kind} has a metric of its own named {unfit[0]!r}: use letters, digits, _, - and full stops, "
            "and begin with a letter or a digit."
        )
    taken = {*OWN_NAMES, *target.tally(found.device).metrics()}
    if twice := sorted(taken.intersection(named)):
        raise WrongNetwork(f"{kind} has a metric of its own named {twice[0]!r}, which is taken: give it another name.")
