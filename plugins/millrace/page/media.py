"""Pictures and sounds that the page keeps for a moment, so that they are not read from Kafka again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from include.overview.look import Content, Item
from include.overview.media import Medium

if TYPE_CHECKING:
    from include.kafka.records import Address

# Of all media that are kept.
KEPT_BYTES = 64 * 2**20


@dataclass
class MediaKept:
    """Media by where their records are, the latest of them up to `KEPT_BYTES`."""

    _media: OrderedDict[tuple[str, str, int, int], Medium] = field(default_factory=OrderedDict)
    _size: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, pipeline: str, content: Content, item: Item) -> None:
        if item.shown is None or item.shown.medium is None:
            return
        key, medium = _key(pipeline, content, item.address), item.shown.medium
        with self._lock:
            before = self._media.pop(key, None)
            self._size += len(medium.content) - (len(before.content) if before else 0)
            self._media[key] = medium
            while self._size > KEPT_BYTES and len(self._media) > 1:
                self._size -= len(self._media.popitem(last=False)[1].content)

    def get(self, pipeline: str, content: Content, address: Address) -> Medium | None:
        with self._lock:
            return self._media.get(_key(pipeline, content, address))


def _key(pipeline: str, content: Content, address: Address) -> tuple[str, str, int, int]:
    return pipeline, content, address.partition, address.offset
