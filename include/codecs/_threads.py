"""Decoding in several threads, which end with the call or with their pool, so that none exists when Airflow forks."""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

# Each holds a decoded image in memory, and more threads only contend for the GIL.
MAX_THREADS = 8

_allowed: int | None = None


def allow_threads(threads: int) -> None:
    """Set the number of threads of every later `for_each` in this process, however many processors there are."""
    global _allowed  # noqa: PLW0603 - a setting of the process, as torch.set_num_threads is
    _allowed = threads


def available_threads() -> int:
    """The number set by `allow_threads`, else one for each available processor, `MAX_THREADS` at most."""
    if _allowed is not None:
        return _allowed
    # macOS has no processor affinity.
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(processors, MAX_THREADS)


def for_each(work: Callable[[int], None], count: int, *, threads: int) -> None:
    """Call `work` for 0 to `count` - 1, each once, in any order; an exception is raised when all threads have ended.

    The caller works, too: while it only waited, Linux ran the new threads on one processor for milliseconds.
    """
    threads = min(threads, count)
    if threads < 2:
        for position in range(count):
            work(position)
        return
    share = _share(work, count)
    with ThreadPoolExecutor(threads - 1, thread_name_prefix="decode") as pool:
        others = [pool.submit(share) for _ in range(threads - 1)]
        share()
    for other in others:
        other.result()


def begin_each(
    work: Callable[[int], None], count: int, pool: ThreadPoolExecutor, *, threads: int
) -> list[Future[None]]:
    """Begin the same in a pool alone, whose threads go on with its next work while the last positions are worked on."""
    share = _share(work, count)
    return [pool.submit(share) for _ in range(min(threads, count))]


def _share(work: Callable[[int], None], count: int) -> Callable[[], None]:
    """What each of several threads does, until all of the work is done."""
    # One iterator for all: with fixed shares, threads would be idle while one decodes the large images.
    positions = iter(range(count))

    def share() -> None:
        for position in positions:
            work(position)

    return share
