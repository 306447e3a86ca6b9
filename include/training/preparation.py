"""Before the first batch: the network, and what is counted over the training samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from include.codecs import RowStatistics
from include.codecs.base import Codec
from include.errors import Stopped
from include.feed.feed import Feed
from include.network.build import build_network
from include.network.check import check_trainable
from include.targets.regression import Scale, ScaleFinder
from include.training.initial_weights import freeze_layers
from include.training.job import TrainingJob

if TYPE_CHECKING:
    import torch
    from torch import nn


def prepare_network(job: TrainingJob, device: torch.device) -> nn.Module:
    """The job's network in training mode, with random weights and its frozen layers set.

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


def count_samples(
    job: TrainingJob, feed_of: Callable[[Codec], Feed], stopped: Callable[[], bool]
) -> tuple[Scale | None, RowStatistics | None]:
    """The scale of a regression's targets and the statistics of the inputs, where the job needs them.

    They are those of the version that the job starts from, or else of all training samples, which are read once for it.

    Args:
        feed_of: the feed of a codec, in the log's order, so that the same manifest gives the same bits.

    Raises:
        Stopped: `stopped` returned True; the next attempt begins again.
        NoCategory: a column has too many different texts.
    """
    scale = job.start.scale if job.normalise and job.start is not None else None
    statistics = None if job.start is None else job.start.statistics
    counting = None if statistics is not None else job.format.counting()
    finder = ScaleFinder() if job.normalise and scale is None else None
    if finder is None and counting is None:
        return scale, statistics
    for _, targets in feed_of(counting or job.format.with_statistics(statistics)):
        if finder is not None:
            finder.add(targets.numpy())
        if stopped():
            raise Stopped("Training was stopped before its first batch: the next attempt begins it.")
    return scale if finder is None else finder.scale(), statistics if counting is None else counting.statistics
