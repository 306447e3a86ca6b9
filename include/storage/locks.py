"""One process at a time in a folder, by a lock that the kernel drops with its holder."""

from __future__ import annotations

import fcntl
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from include.local.broker.errors import BrokerError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_POLL_S = 0.05


@contextmanager
def locked(directory: Path, *, timeout_s: float) -> Iterator[None]:
    """Hold the lock of a folder, which is made if it is missing.

    Raises:
        BrokerError: another process has held it for all of `timeout_s`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout_s
    with (directory / ".lock").open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise BrokerError(
                        f"Another process has held {directory}/.lock for {timeout_s:.0f} s, to start or stop the "
                        "broker or to fetch jars: "
                        "wait for it, or end it."
                    ) from None
                time.sleep(_POLL_S)
            else:
                break
        yield
