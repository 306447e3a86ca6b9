"""A training in this process, for faults that need no trainer process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from include.artifact.result import TrainingResult, read_result
from include.training.worker import work

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection
    from include.training.job import TrainingJob


def train_here(
    job: TrainingJob,
    kafka: KafkaConnection,
    directory: Path,
    *,
    run: str,
    stopped: Callable[[], bool] = lambda: False,
    on_progress: Callable[[dict[str, Any]], None] = lambda _: None,
) -> TrainingResult:
    """Train as `run_training` does, without the trainer process, which takes seconds to import torch."""
    connection = {"settings": dict(kafka.settings), "timeout_s": kafka.timeout_s}
    request = {"directory": str(directory), "job": job.model_dump(mode="json"), "connection": connection}
    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    try:
        work({**request, "run": run, "cache_bytes": 0, "lease_timeout_s": 1}, stopped, on_progress)
    finally:
        torch.set_num_threads(threads)
        torch.set_deterministic_debug_mode(mode)
    result = read_result(directory, job.digest)
    assert result is not None
    return result
