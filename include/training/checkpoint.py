"""Checkpoints: what a run needs to resume with the same bits, as a directory that is written whole or not at all.

`include.training.loop` decides when one is written, and goes on from the newest one.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.artifact.result import OtherJob
from include.errors import one_line
from include.storage.atomic import files_digest, remove_leftovers, require_room, whole_directory
from include.storage.removal import remove_folder
from include.training.device import random_states, restore_random_states
from include.training.optimizer import MOMENTS, OptimizerName, optimizer_tensors, restore_optimizer

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.optim import Optimizer

log = logging.getLogger(__name__)

TENSORS = "tensors.safetensors"
STATE = "state.json"
DIGEST = "SHA256"
KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """What a run needs to resume with the same bits.

    Attributes:
        tensors: weights, optimizer and random states, on the CPU.
        state: the rest, as JSON holds it; floats come back bit for bit.
    """

    tensors: dict[str, torch.Tensor]
    state: dict[str, Any]


def save_checkpoint(folder: Path, job: str, checkpoint: Checkpoint) -> Path:
    """Write the next checkpoint, keep the previous one, remove the older ones.

    Args:
        folder: has a run's checkpoints and nothing else; the caller holds the run's lease.
        job: digest of the job that it belongs to.

    Raises:
        DiskFull: it does not fit; the earlier ones are kept.
    """
    from safetensors.torch import save_file

    present = _present(folder)
    number = int(present[-1].name) + 1 if present else 1
    target = folder / f"{number:06d}"
    size = sum(tensor.nbytes for tensor in checkpoint.tensors.values())
    with whole_directory(target, size=size) as aside:
        save_file(checkpoint.tensors, aside / TENSORS)
        content = {"job": job, **checkpoint.state}
        (aside / STATE).write_text(json.dumps(content, allow_nan=False), encoding="utf-8")
        (aside / DIGEST).write_text(files_digest(aside, (TENSORS, STATE)), encoding="ascii")
    for older in [*present, target][:-KEPT]:
        remove_folder(folder, older)
    return target


def require_checkpoint_room(folder: Path, network: nn.Module, optimizer: OptimizerName) -> None:
    """Refuse a training that has no room for one checkpoint and for the weights of its result.

    Args:
        folder: of the checkpoints; the result is on the same disk.

    Raises:
        DiskFull: with the bytes that are needed and those that are free.
    """
    weights = sum(tensor.nbytes for tensor in network.state_dict().values())
    trained = sum(parameter.nbytes for parameter in network.parameters() if parameter.requires_grad)
    require_room(folder, [weights + MOMENTS[optimizer] * trained, weights])


def load_checkpoint(folder: Path, job: str) -> Checkpoint | None:
    """The newest undamaged checkpoint; None if there is none.

    A damaged one is removed with a warning, so that the next save does not keep it as the previous one.

    Raises:
        OtherJob: it was written for a job with another digest.
    """
    from safetensors.torch import load_file

    if not folder.is_dir():
        return None
    remove_leftovers(folder)
    for path in reversed(_present(folder)):
        fault = _fault(path)
        if fault:
            log.warning("Checkpoint %s is damaged (%s): it is removed and the previous one is used.", path, fault)
            remove_folder(folder, path)
            continue
        state = json.loads((path / STATE).read_text(encoding="utf-8"))
        if state["job"] != job:
            raise OtherJob(
                f"Checkpoint {path} belongs to job {state['job'][:12]} and this job is {job[:12]}: use another run "
                "directory, or remove this one."
            )
        # Clones: loaded tensors are mapped to the file, whose disk space would stay in use after it is removed.
        return Checkpoint({name: tensor.clone() for name, tensor in load_file(path / TENSORS).items()}, state)
    return None


def _present(folder: Path) -> list[Path]:
    return sorted((path for path in folder.glob("[0-9]*") if path.name.isdigit()), key=lambda path: int(path.name))


def _fault(path: Path) -> str | None:
    try:
        expected = (path / DIGEST).read_text(encoding="ascii").strip()
        found = files_digest(path, (TENSORS, STATE))
    except (OSError, UnicodeDecodeError) as error:
        return one_line(error)
    return None if found == expected else f"SHA-256 is {found[:12]}… and {expected[:12]}… was written"


def run_tensors(network: nn.Module, optimizer: Optimizer, device: torch.device) -> dict[str, torch.Tensor]:
    """Copies of weights, optimizer state and random states, on the CPU."""
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
    tensors: Mapping[str, torch.Tensor], network: nn.Module, optimizer: Optimizer, device: torch.device
) -> None:
    """Restore what `run_tensors` returned."""
    network.load_state_dict(_group(tensors, "network"))
    restore_optimizer(optimizer, _group(tensors, "optimizer"))
    restore_random_states(_group(tensors, "random"), device)


def warn_of_other_software(then: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Warn if the run began with other versions, or on another device, which may give other bits."""
    differing = {name: (version, now.get(name)) for name, version in then.items() if now.get(name) != version}
    if differing:
        log.warning("The run began with other software, so its bits may differ: %s.", differing)


def _group(tensors: Mapping[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
