"""Checking before a training what would otherwise fail after its first epoch: every mode, small batches, saving."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.errors import PermanentError, one_line
from include.models.base import ModelDefinition
from include.network.build import build_network
from include.network.keras import seeded_as_torch
from include.targets.base import Target

if TYPE_CHECKING:
    from torch import nn


# Batches of a training (True) and of prediction and evaluation (False). Batch normalisation cannot learn from one
# sample, and no training batch has only one.
BATCHES = ((False, 1), (False, 2), (False, 3), (True, 2), (True, 3))


class UntrainableNetwork(PermanentError):
    """The network can be called once, but not trained, used with every batch or saved."""


def check_trainable(model: ModelDefinition, input_shape: tuple[int, ...], target: Target, *, file: str) -> None:
    """Call a network in training and evaluation mode with zeros of 1 to 3 samples, save it, and load it into another.

    Both networks are built for this and thrown away, since a call may change any part of one: buffers, moving averages
    that are parameters, attributes. All random generators are afterwards as they were.

    Args:
        file: name of the pipeline's file, for errors.

    Raises:
        WrongNetwork: see `build_network`.
        UntrainableNetwork: it fails, returns no tensor of shape (samples, outputs), or has state that can't be saved.
    """
    import torch

    kind, outputs = f"In {file} [model] kind = {model.kind!r}", len(target.labels)
    with torch.random.fork_rng(devices=[]), torch.no_grad(), seeded_as_torch():
        network, another = (build_network(model, input_shape, target, file=file) for _ in range(2))
        for training, samples in BATCHES:
            network.train(training)
            _check_batch(network, (samples, *input_shape), (samples, outputs), training=training, kind=kind)
        _check_saving(network, another, kind)


def _check_batch(
    network: nn.Module, shape: tuple[int, ...], wanted: tuple[int, ...], *, training: bool, kind: str
) -> None:
    import torch

    batch = f"a batch of {shape[0]} in {'training' if training else 'evaluation'} mode"
    try:
        found = network(torch.zeros(shape))
    except Exception as error:
        raise UntrainableNetwork(f"{kind} fails for {batch} ({one_line(error)}): correct its forward().") from error
    if not isinstance(found, torch.Tensor):
        raise UntrainableNetwork(
            f"{kind} returns a {type(found).__name__} for {batch}: let it return the tensor of its logits in both "
            "modes (the loss of an auxiliary output belongs in loss_of)."
        )
    if tuple(found.shape) != wanted:
        raise UntrainableNetwork(
            f"{kind} returns a tensor of shape {tuple(found.shape)} for {batch}, which should be {wanted}: let it keep "
            "the batch's dimension, by flatten(1) in place of squeeze() for example."
        )


def _check_saving(network: nn.Module, another: nn.Module, kind: str) -> None:
    import torch
    from safetensors.torch import load, save

    state = network.state_dict()
    for name, value in state.items():
        if not isinstance(value, torch.Tensor):
            raise UntrainableNetwork(
                f"{kind} has the state {name!r} of type {type(value).__name__}, and only tensors are saved: make it a "
                "buffer."
            )
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    try:
        another.load_state_dict(load(save(tensors)))
    except Exception as error:
        raise UntrainableNetwork(
            f"{kind} cannot be saved and loaded into a new network ({one_line(error)}): keep the shape of each saved "
            "tensor, or register a buffer with persistent=False."
        ) from error
