"""The device of a run, and the settings and random states that make its bits repeatable."""

from __future__ import annotations

import json
import os
import random
from typing import TYPE_CHECKING, Any

from include.codecs import allow_threads

if TYPE_CHECKING:
    import torch


def prepare_device(seed: int, threads: int) -> torch.device:
    """Seed this process, make its operations deterministic, and return the GPU if there is one, else the CPU.

    An operation that torch has no deterministic implementation of raises RuntimeError on a CPU. On a GPU, where many
    common layers have none, it is a warning, and a resumed run may differ in its last bits.

    Args:
        threads: for torch's operations and for decoding.
    """
    # Read when cuBLAS starts, so it has to be set before the first operation on a GPU.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

    import numpy as np
    import torch

    torch.set_num_threads(threads)
    allow_threads(threads)
    torch.manual_seed(seed)
    # Millrace draws nothing from these, but a user's network may.
    random.seed(seed)
    np.random.seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")
    return device


def random_states(device: torch.device) -> dict[str, torch.Tensor]:
    """The states of the generators that a network on `device` may draw from, as uint8 tensors on the CPU."""
    import numpy as np
    import torch

    of_numpy: Any = np.random.get_state()
    name, key, *rest = of_numpy
    states = {
        "cpu": torch.get_rng_state(),
        "python": _as_tensor(random.getstate()),
        "numpy": _as_tensor((name, key.tolist(), *rest)),
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random_states(states: dict[str, torch.Tensor], device: torch.device) -> None:
    """Restore what `random_states` returned; a GPU's state is ignored on a CPU.

    Older checkpoints lack the states of Python and NumPy.
    """
    import numpy as np
    import torch

    torch.set_rng_state(states["cpu"])
    if "python" in states:
        version, numbers, gauss = _from_tensor(states["python"])
        random.setstate((version, tuple(numbers), gauss))
    if "numpy" in states:
        np.random.set_state(tuple(_from_tensor(states["numpy"])))
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


def _as_tensor(state: Any) -> torch.Tensor:
    import torch

    return torch.frombuffer(bytearray(json.dumps(state).encode()), dtype=torch.uint8)


def _from_tensor(tensor: torch.Tensor) -> Any:
    return json.loads(tensor.numpy().tobytes())
