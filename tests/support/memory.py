"""How much memory this process takes while something runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

LOOK_S = 0.01


@dataclass
class Peak:
    """The most that was seen beyond the memory at the beginning."""

    mebibytes: float = 0.0


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """Look at the resident memory again and again until the block ends."""
    process, peak, done = psutil.Process(), Peak(), threading.Event()
    before = process.memory_info().rss

    def watch() -> None:
        while not done.wait(LOOK_S):
            peak.mebibytes = max(peak.mebibytes, (process.memory_info().rss - before) / 2**20)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()
