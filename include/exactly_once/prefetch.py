"""Prefetch: prepare the next item, such as a chunk of records, while the present one is committed."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

Item = TypeVar("Item")


def prefetch(items: Generator[Item]) -> Generator[Item]:
    """The same items in the same order, each produced by a thread as soon as the one before it is taken.

    An exception is raised in place of the item that it prevented. Closing this waits for the item in production, and
    then closes `items`; whoever may leave early closes it.
    """
    with closing(items), ThreadPoolExecutor(1, thread_name_prefix="prefetch") as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item
