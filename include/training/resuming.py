"""What of a run goes into a checkpoint as tensors, and comes out of it again."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from include.training.device import random_states, restore_random_states
from include.training.optimizer import optimizer_tensors, restore_optimizer

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.optim import AdamW

log = logging.getLogger(__name__)


def run_tensors(network: nn.Module, optimizer: AdamW, device: torch.device) -> dict[str, torch.Tensor]:
    """Weights, optimizer and random states of this moment, on the CPU."""
    groups = {
        "network": network.state_dict(),
        "optimizer": optimizer_tensors(optimizer),
        "random": random_states(device),
    }
    # Clones, because safetensors refuses tensors that share their memory.
    return {
        f"{group}.{name}": tensor.detach().cpu().contiguous().clone()
        for group, tensors in groups.items()
        for name, tensor in tensors.items()
    }


def restore_run(
    tensors: Mapping[str, torch.Tensor], network: nn.Module, optimizer: AdamW, device: torch.device
) -> None:
    """Take over what `run_tensors` gave."""
    network.load_state_dict(_group(tensors, "network"))
    restore_optimizer(optimizer, _group(tensors, "optimizer"))
    restore_random_states(_group(tensors, "random"), device)


def warn_of_other_software(then: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Tell where the run was begun with versions, or on a device, that may give other bits."""
    differing = {name: (version, now.get(name)) for name, version in then.items() if now.get(name) != version}
    if differing:
        log.warning("The run was begun with other software, so its bits may differ: %s.", differing)


def _group(tensors: Mapping[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
