"""PyTorch's AdamW (Loshchilov and Hutter, ICLR 2019), with its state as plain tensors for safetensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch.optim import AdamW


def make_optimizer(parameters: Iterable[torch.Tensor], *, weight_decay: float) -> AdamW:
    """The fused AdamW over float32 parameters; the learning rate is set before each step, see `set_learning_rate`."""
    from torch.optim import AdamW

    return AdamW([item for item in parameters if item.requires_grad], weight_decay=weight_decay, fused=True)


def set_learning_rate(optimizer: AdamW, learning_rate: float) -> None:
    """The rate of the next step: a function of the position in training, so that it needs no state of its own."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def optimizer_tensors(optimizer: AdamW) -> dict[str, torch.Tensor]:
    """Moments and step counts by `<parameter's position>.<name>`; none before the first step."""
    return {
        f"{position}.{name}": tensor
        for position, state in optimizer.state_dict()["state"].items()
        for name, tensor in state.items()
    }


def restore_optimizer(optimizer: AdamW, tensors: Mapping[str, torch.Tensor]) -> None:
    """Take over what `optimizer_tensors` gave; a checkpoint is bound to its job, and so to the same parameters."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        position, _, name = key.partition(".")
        state.setdefault(int(position), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
