"""Before the first batch: the network, the weights to start from, and the scale of a regression's targets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from include.errors import Stopped
from include.network.build import build_network
from include.network.check import check_trainable
from include.targets.regression import Scale, ScaleFinder
from include.training.start import freeze_layers, load_start

if TYPE_CHECKING:
    import torch
    from torch import nn

    from include.feed.feed import Feed
    from include.training.job import TrainingJob


def prepare_network(job: TrainingJob, device: torch.device) -> nn.Module:
    """The job's network in training mode, with initial weights and its frozen layers set.

    Raises:
        WrongNetwork, WrongFreeze: it does not fit format and labels, or the patterns of `freeze` don't fit it.
        UntrainableNetwork: see `check_trainable`.
    """
    file, target = f"{job.pipeline}.toml", job.target()
    check_trainable(job.model, job.format.input_shape, target, file=file)
    network = build_network(job.model, job.format.input_shape, target, file=file)
    network.to(device).train()
    freeze_layers(network, job.freeze or ())
    return network


def put_start(job: TrainingJob, network: nn.Module, weights: Path | None) -> None:
    """Put the weights that the job starts from into its network.

    Raises:
        WrongStart, StartChanged: see `load_start`.
    """
    if job.start is None:
        return
    if weights is None:
        raise ValueError("The job starts from weights and no file of weights was given: see start_weights.")
    load_start(network, job.start, weights)


def first_scale(job: TrainingJob, feed: Feed, stopped: Callable[[], bool]) -> Scale | None:
    """The scale of a regression's targets: that of the version it starts from, or else of all targets of the feed.

    Args:
        feed: in the log's order, so that the same manifest gives the same scale, bit for bit.

    Raises:
        Stopped: `stopped` returned True; the next attempt begins again.
    """
    if not job.normalise:
        return None
    if job.start is not None and job.start.scale is not None:
        return job.start.scale
    finder = ScaleFinder()
    for _, targets in feed:
        finder.add(targets.numpy())
        if stopped():
            raise Stopped("Training was stopped before its first batch: the next attempt begins it.")
    return finder.scale()
