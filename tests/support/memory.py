"""The peak memory of this process while a block runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

SAMPLE_S = 0.01


@dataclass
class Peak:
    """The largest growth of the resident memory since the beginning of the block."""

    mebibytes: float = 0.0


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """Sample the resident memory until the block ends."""
    process, peak, done = psutil.Process(), Peak(), threading.Event()
    before = process.memory_info().rss

    def watch() -> None:
        while not done.wait(SAMPLE_S):
            peak.mebibytes = max(peak.mebibytes, (process.memory_info().rss - before) / 2**20)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()
