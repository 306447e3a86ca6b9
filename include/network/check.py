"""Checking before a training what would otherwise fail after its first epoch: every mode, small batches, saving."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from include.errors import PermanentError, one_line
from include.network.keras import seeded_as_torch

if TYPE_CHECKING:
    import torch
    from torch import nn

# Batches of a training (True) and of prediction and evaluation (False). Batch normalisation cannot learn from one
# sample, and no training batch has only one.
BATCHES = ((False, 1), (False, 2), (False, 3), (True, 2), (True, 3))


class UntrainableNetwork(PermanentError):
    """The network can be called once, but not trained, used with every batch or saved."""


def check_trainable(network: nn.Module, input_shape: tuple[int, ...], outputs: int, *, kind: str) -> None:
    """Call the network in training and evaluation mode with zeros of 1 to 3 samples, then save and load its state.

    Its parameters, buffers and mode and all random generators are afterwards as they were.

    Args:
        kind: what to call it in an error.

    Raises:
        UntrainableNetwork: it fails, returns no tensor of shape (samples, outputs), or has state that can't be saved.
    """
    import torch

    modes = [(module, module.training) for module in network.modules()]
    # A call may change parameters, too: the moving averages of Keras' normalisation are such.
    before = {name: value.detach().clone() for name, value in _state(network)}
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), seeded_as_torch():
            for training, samples in BATCHES:
                network.train(training)
                _check_batch(network, (samples, *input_shape), (samples, outputs), training=training, kind=kind)
                _check_shapes(network, before, samples, kind)
    finally:
        with torch.no_grad():
            for name, value in _state(network):
                if name in before and value.shape == before[name].shape:
                    value.copy_(before[name])
                elif name in before:  # a buffer that is not saved may have the shape of the last batch
                    value.data = before[name]
        for module, mode in modes:
            module.training = mode
    _check_saving(network, kind)


def _state(network: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from network.named_parameters()
    yield from network.named_buffers()


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


def _check_shapes(network: nn.Module, before: Mapping[str, torch.Tensor], samples: int, kind: str) -> None:
    import torch

    for name, value in network.state_dict().items():
        if name in before and isinstance(value, torch.Tensor) and value.shape != before[name].shape:
            raise UntrainableNetwork(
                f"{kind} has the state {name!r} of shape {tuple(before[name].shape)}, which is {tuple(value.shape)} "
                f"for a batch of {samples}, so that what is saved would not fit a new network: keep its shape, or "
                "register the buffer with persistent=False."
            )


def _check_saving(network: nn.Module, kind: str) -> None:
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
        network.load_state_dict(load(save(tensors)))
    except Exception as error:
        raise UntrainableNetwork(
            f"{kind} cannot be saved and loaded ({one_line(error)}): let load_state_dict() take what state_dict() "
            "returns."
        ) from error
