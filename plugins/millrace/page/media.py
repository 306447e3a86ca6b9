"""Pictures and sounds that the page keeps for a moment, so that they are not read from Kafka again."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from cachetools import LRUCache

from include.overview.look import Content, Item
from include.overview.media import Medium

if TYPE_CHECKING:
    from include.kafka.records import Address

# All media that are kept have at most this many bytes together.
KEPT_BYTES = 64 * 2**20


class MediaCache:
    """Media by where their records are, the latest of them up to `KEPT_BYTES`."""

    def __init__(self) -> None:
        self._media: LRUCache[tuple[str, str, int, int], Medium] = LRUCache(KEPT_BYTES, lambda it: len(it.content))
        self._lock = threading.Lock()

    def put(self, pipeline: str, content: Content, item: Item) -> None:
        medium = None if item.shown is None else item.shown.medium
        if medium is not None and len(medium.content) <= KEPT_BYTES:
            with self._lock:
                self._media[_key(pipeline, content, item.address)] = medium

    def get(self, pipeline: str, content: Content, address: Address) -> Medium | None:
        with self._lock:
            return self._media.get(_key(pipeline, content, address))


def _key(pipeline: str, content: Content, address: Address) -> tuple[str, str, int, int]:
    return pipeline, content, address.partition, address.offset
