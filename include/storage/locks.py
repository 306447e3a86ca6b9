"""Locks on files, held by one process at a time; the kernel drops a lock with its holder, however that ends."""

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from include.errors import MillraceError, Stopped
from include.storage.atomic import explained_if_full
from include.storage.state import make_folder

log = logging.getLogger(__name__)

POLL_S = 0.05


class LockTaken(MillraceError):
    """Another process has held the lock for longer than the timeout."""


@contextmanager
def locked(path: Path, *, timeout_s: float, stopped: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Hold the lock of a file within the block.

    The file and its folder are made if they are missing; the file holds its last holder's pid. It must be on a local
    file system: network file systems may grant a lock twice.

    Args:
        timeout_s: seconds to wait for another holder; `math.inf` waits as long as that lives.
        stopped: polled while waiting.

    Raises:
        LockTaken: another process still held the lock after `timeout_s`.
        Stopped: `stopped` returned True.
        DiskFull: there is no room for the file.
    """
    with explained_if_full(path):
        make_folder(path.parent)
        file = path.open("a+", encoding="ascii")
    deadline = time.monotonic() + timeout_s
    waiting = False
    with file:
        while not _acquire(file):
            file.seek(0)
            holder = file.read().strip() or "unknown"
            if not waiting:
                log.info("Waiting for the lock %s, which process %s holds.", path, holder)
                waiting = True
            if stopped():
                raise Stopped(f"Stopped while process {holder} held the lock {path}: nothing was begun.")
            if time.monotonic() > deadline:
                raise LockTaken(
                    f"Process {holder} has held the lock {path} for {timeout_s:g} s: wait for it to end, or end it, "
                    "and try again."
                )
            time.sleep(POLL_S)
        with explained_if_full(path):
            file.truncate(0)
            # Past the buffer, which would be flushed once more, and fail once more, when the file is closed.
            os.write(file.fileno(), str(os.getpid()).encode())
        yield


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of this file now; False where there is no file."""
    try:
        with path.open(encoding="ascii") as file:
            return not _acquire(file)
    except FileNotFoundError:
        return False


def _acquire(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
