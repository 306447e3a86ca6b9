"""Trainings that are stopped and resumed many times, and the bits of their results."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.errors import Stopped
from include.training.loop import TrainedNetwork, train
from tests.support.assertions import assert_readable

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection
    from include.training.job import TrainingJob


def bits(trained: TrainedNetwork) -> dict[str, bytes]:
    """The weights by name."""
    return {name: tensor.numpy().tobytes() for name, tensor in trained.network.state_dict().items()}


def stopped_every(batches: int) -> Callable[[], bool]:
    """A stop flag that is True at every n-th poll; the loop polls it after each batch and each epoch."""
    polls = itertools.count(1)
    return lambda: next(polls) % batches == 0


def trained_in_pieces(
    kafka: KafkaConnection, job: TrainingJob, directory: Path, batches: int, **settings: Any
) -> tuple[TrainedNetwork, int]:
    """Stop and resume a training until it is done; returns it and the number of attempts."""
    for attempt in range(1, 100):
        try:
            return train(job, kafka, directory, stopped=stopped_every(batches), **settings), attempt
        except Stopped as stopped:
            assert_readable(stopped, "stopped")
    raise AssertionError("the training makes no progress")
