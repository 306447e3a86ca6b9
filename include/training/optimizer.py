"""The optimizers, their state as plain tensors for safetensors, and the learning rate of a moment."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch
    from torch.optim import Optimizer

OptimizerName = Literal["adamw", "sgd"]
MOMENTUM = 0.9
# Numbers that an optimizer keeps of each parameter.
MOMENTS: dict[OptimizerName, int] = {"adamw": 2, "sgd": 1}
WARM_UP = 0.2
FIRST_SHARE = 0.1
LAST_SHARE = 0.01


def make_optimizer(
    parameters: Iterable[torch.Tensor], *, weight_decay: float, name: OptimizerName = "adamw"
) -> Optimizer:
    """An optimizer over float32 parameters; the learning rate is set before each step, see `set_learning_rate`.

    Args:
        name: AdamW (Loshchilov and Hutter, ICLR 2019), or stochastic gradient descent with Nesterov's momentum.
    """
    from torch.optim import SGD, AdamW

    trained = [item for item in parameters if item.requires_grad]
    if name == "sgd":
        return SGD(trained, momentum=MOMENTUM, nesterov=True, weight_decay=weight_decay, fused=True)
    return AdamW(trained, weight_decay=weight_decay, fused=True)


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def optimizer_tensors(optimizer: Optimizer) -> dict[str, torch.Tensor]:
    """Moments, and AdamW's step counts, by `<parameter's position>.<name>`; none before the first step."""
    return {
        f"{position}.{name}": tensor
        for position, state in optimizer.state_dict()["state"].items()
        for name, tensor in state.items()
    }


def restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Restore what `optimizer_tensors` returned for the same parameters, which a checkpoint's job guarantees."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        position, _, name = key.partition(".")
        state.setdefault(int(position), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def learning_rate(peak: float, progress: float) -> float:
    """Linear warm-up, then half a cosine (after Smith and Topin, 2017: one cycle, for fast convergence).

    A pure function of progress, so that a resumed run needs no state for it.

    Args:
        peak: the rate at the end of the warm-up.
        progress: share of the training that is done, 0 to 1.
    """
    if progress < WARM_UP:
        return peak * (FIRST_SHARE + (1 - FIRST_SHARE) * progress / WARM_UP)
    fall = min((progress - WARM_UP) / (1 - WARM_UP), 1.0)
    return peak * (LAST_SHARE + (1 - LAST_SHARE) * (1 + math.cos(math.pi * fall)) / 2)


def expected_batches(offsets: int, held_out: float, batch_size: int) -> int:
    """About how many batches an epoch has, from its offsets, which are an upper bound of its records."""
    return max(math.ceil(offsets * (1 - held_out) / batch_size), 1)
