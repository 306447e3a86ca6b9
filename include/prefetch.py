"""Prefetch: prepare the next items, such as chunks of records, while the present one is used."""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


@contextmanager
def prefetch(items: Generator[Item], ahead: int = 1) -> Iterator[Iterator[Item]]:
    """The same items in the same order, produced by a thread, which begins at once.

    An exception is raised in place of the item that it prevented. The end of the context waits for the item in
    production, and then closes `items`.

    Args:
        ahead: how many items there may be that are not taken yet.
    """
    with closing(items), ThreadPoolExecutor(1, thread_name_prefix="prefetch") as pool:
        coming = deque(pool.submit(next, items, None) for _ in range(ahead))
        try:
            yield _taken(items, coming, pool)
        finally:
            for later in islice(coming, 1, None):
                later.cancel()


def _taken(items: Iterator[Item], coming: deque[Future[Item | None]], pool: ThreadPoolExecutor) -> Iterator[Item]:
    while (item := coming.popleft().result()) is not None:
        coming.append(pool.submit(next, items, None))
        yield item
