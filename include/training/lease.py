"""The lease on a run's directory: its holder is the only process that writes there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from include.storage.locks import locked

FILE = "lease"


def lease(
    directory: Path, *, timeout_s: float = 60.0, stopped: Callable[[], bool] = lambda: False
) -> AbstractContextManager[None]:
    """Hold the lease within the block, so that an orphaned trainer and a retry never both write.

    Args:
        timeout_s: seconds to wait for another holder; an orphan notices within a second that its parent is gone.
        stopped: polled while waiting.

    Raises:
        LockTaken, Stopped, DiskFull: see `include.storage.locks.locked`.
    """
    return locked(directory / FILE, timeout_s=timeout_s, stopped=stopped)
