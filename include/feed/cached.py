"""Held-out samples that are evaluated again and again: read once, and kept where they are few."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from include.feed.feed import FeedReport

if TYPE_CHECKING:
    import torch

    from include.feed.feed import Feed

KEPT_BYTES = 256 * 1024 * 1024


class CachedBatches:
    """Batches of the held-out side, the same at every iteration.

    They are kept in memory up to `kept_bytes` of tensors; where there are more, every iteration reads the log again and
    memory is bounded by the feed.

    Args:
        feed: makes a feed of the held-out side at its beginning.
    """

    def __init__(self, feed: Callable[[], Feed], *, kept_bytes: int = KEPT_BYTES) -> None:
        self._feed = feed
        self._room = kept_bytes
        self._kept: list[tuple[torch.Tensor, torch.Tensor]] | None = None
        self.report = FeedReport()

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        if self._kept is not None:
            yield from self._kept
            return
        feed = self._feed()
        kept: list[tuple[torch.Tensor, torch.Tensor]] = []
        size = 0
        for inputs, labels in feed:
            size += inputs.nbytes + labels.nbytes
            if size <= self._room:
                kept.append((inputs, labels))
            else:
                kept.clear()
            yield inputs, labels
        self.report = feed.report
        if size <= self._room:
            self._kept = kept
