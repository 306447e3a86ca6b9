"""Where a run computes, and the settings that make its bits repeatable."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from include.codecs.threads import allow_threads

if TYPE_CHECKING:
    import torch


def prepare_device(seed: int, threads: int) -> torch.device:
    """Seed this process, make its operations deterministic, and return the GPU where there is one, else the CPU.

    `threads` bounds those of torch's operations and those that images are decoded in.

    An operation of which torch has no deterministic form raises RuntimeError on a CPU. On a GPU, where many common
    layers have none, it is a warning: the run goes on, and a resumed one may differ in its last bits.
    """
    # Read when cuBLAS starts, so it has to be set before the first operation on a GPU.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

    import torch

    torch.set_num_threads(threads)
    allow_threads(threads)
    torch.manual_seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")
    return device


def random_states(device: torch.device) -> dict[str, torch.Tensor]:
    """The states of the generators that a network on `device` draws from, as uint8 tensors on the CPU."""
    import torch

    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random_states(states: dict[str, torch.Tensor], device: torch.device) -> None:
    """Set what `random_states` returned; a GPU's state is passed over where there is none."""
    import torch

    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
