"""Decoding in several threads, which end with the call: none is there when a process forks, as Airflow's do."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

# Each holds a decoded image at once, and beyond these what is done under the interpreter lock is what they wait for.
MOST_THREADS = 8

_allowed: int | None = None


def allow_threads(threads: int) -> None:
    """Let every later `for_each` of this process use so many, whatever the machine has."""
    global _allowed  # noqa: PLW0603 - a setting of the process, as torch.set_num_threads is
    _allowed = threads


def available_threads() -> int:
    """What was allowed, else one for each processor that this process may run on, `MOST_THREADS` at most."""
    if _allowed is not None:
        return _allowed
    # macOS has no affinity to ask for.
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(processors, MOST_THREADS)


def for_each(work: Callable[[int], None], count: int, *, threads: int) -> None:
    """Call `work` for 0 to `count` - 1, each once, in any order; what it raises is raised when all threads are done."""
    if min(threads, count) < 2:
        for position in range(count):
            work(position)
        return
    # All draw from one iterator: a share each would leave the others idle where one has the large images.
    positions = iter(range(count))

    def work_on() -> None:
        for position in positions:
            work(position)

    with ThreadPoolExecutor(min(threads, count), thread_name_prefix="decode") as pool:
        for future in [pool.submit(work_on) for _ in range(min(threads, count))]:
            future.result()
