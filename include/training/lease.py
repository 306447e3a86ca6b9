"""The lease on a run's directory: whoever holds it is the only one that writes there."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from include.errors import MillraceError, Stopped
from include.storage.atomic import explained_if_full

log = logging.getLogger(__name__)

FILE = "lease"
POLL_S = 0.1


class LeaseTaken(MillraceError):
    """Another process works on this run and did not end in time."""


@contextmanager
def lease(directory: Path, *, timeout_s: float = 60.0, stopped: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Hold the lease within the block, so that an orphan and a retry never both write.

    The kernel drops it with its holder, however that ends; the directory must be on a local file system.

    Args:
        timeout_s: seconds to wait for another holder; an orphan notices within a second that its parent is gone.
        stopped: looked at while waiting.

    Raises:
        LeaseTaken: the other holder was still there after `timeout_s`.
        Stopped: `stopped` said so.
        DiskFull: there is no room for the lease's file.
    """
    path = directory / FILE
    with explained_if_full(path):
        directory.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="ascii")
    deadline = time.monotonic() + timeout_s
    told = False
    with file:
        while not _locked(file.fileno()):
            file.seek(0)
            holder = file.read().strip() or "unknown"
            if not told:
                log.info("Waiting for the lease on %s, which process %s holds.", directory, holder)
                told = True
            if stopped():
                raise Stopped(f"Stopped while process {holder} held the lease on {directory}: nothing was begun.")
            if time.monotonic() > deadline:
                raise LeaseTaken(
                    f"Process {holder} has held the lease on {directory} for {timeout_s:g} s: wait for it to end, or "
                    "end it, and try again."
                )
            time.sleep(POLL_S)
        with explained_if_full(path):
            file.truncate(0)
            # Past the buffer, which would be flushed once more, and fail once more, when the file is closed.
            os.write(file.fileno(), str(os.getpid()).encode())
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
