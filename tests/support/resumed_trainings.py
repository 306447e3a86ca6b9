"""Trainings that are stopped again and again, and the bits that they end with."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.errors import Stopped
from include.training.loop import Trained, train
from tests.support.assertions import assert_readable

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection
    from include.training.job import TrainingJob


def bits(trained: Trained) -> dict[str, bytes]:
    """The weights by name."""
    return {name: tensor.numpy().tobytes() for name, tensor in trained.network.state_dict().items()}


def stopped_every(batches: int) -> Callable[[], bool]:
    """True at every n-th look; the loop looks after each batch and each epoch."""
    looks = itertools.count(1)
    return lambda: next(looks) % batches == 0


def trained_in_pieces(
    kafka: KafkaConnection, job: TrainingJob, directory: Path, batches: int, **settings: Any
) -> tuple[Trained, int]:
    """Stop and begin again until it is done; the number of attempts besides."""
    for attempt in range(1, 100):
        try:
            return train(job, kafka, directory, stopped=stopped_every(batches), **settings), attempt
        except Stopped as stopped:
            assert_readable(stopped, "stopped")
    raise AssertionError("it does not get any further")
