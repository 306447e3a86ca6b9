"""The held-out samples of a manifest, which are evaluated again and again: read once, and kept where they are few."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from include.codecs.base import Codec
from include.feed.feed import Feed, FeedReport
from include.feed.manifest import Manifest
from include.kafka.connection import KafkaConnection
from include.kafka.records import Address

if TYPE_CHECKING:
    import torch


EVALUATION_BATCH = 256
KEPT_BYTES = 256 * 1024 * 1024


class CachedBatches:
    """Batches of one epoch as `Feed.for_device` gives them, the same at every iteration.

    They are kept in memory up to `kept_bytes` of tensors; where there are more, every iteration reads the log again and
    memory is bounded by the feed.

    Args:
        feed: makes a feed that is at the beginning of its first epoch and does not shuffle.

    Attributes:
        report: of the last complete iteration that read the log.
        addresses, groups: of the samples of the batch that was served last, if the feed is `addressed`; see `Feed`.
    """

    def __init__(self, feed: Callable[[], Feed], *, kept_bytes: int = KEPT_BYTES) -> None:
        self._feed = feed
        self._kept_bytes = kept_bytes
        self._kept: list[tuple[torch.Tensor, torch.Tensor, Sequence[Address], Iterable[int]]] | None = None
        self.report = FeedReport()
        self.addresses: Sequence[Address] = ()
        self.groups: Iterable[int] = ()

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        if self._kept is not None:
            for batch, labels, addresses, groups in self._kept:
                self.addresses, self.groups = addresses, groups
                yield batch, labels
            return
        feed = self._feed()
        kept: list[tuple[torch.Tensor, torch.Tensor, Sequence[Address], Iterable[int]]] = []
        size = 0
        for batch, labels in feed.for_device():
            size += batch.nbytes + labels.nbytes
            if size <= self._kept_bytes:
                kept.append((batch, labels, feed.addresses, feed.groups))
            else:
                kept.clear()
            self.addresses, self.groups = feed.addresses, feed.groups
            yield batch, labels
        self.report = feed.report
        if size <= self._kept_bytes:
            self._kept = kept


def held_out_batches(
    connection: KafkaConnection, manifest: Manifest, codec: Codec, *, window: int = 65_536, addressed: bool = False
) -> CachedBatches:
    """The samples that are never trained on, in the log's own order; see `Feed`."""

    def feed() -> Feed:
        return Feed(
            connection,
            manifest,
            codec,
            batch_size=EVALUATION_BATCH,
            window=window,
            side="held_out",
            shuffle=False,
            addressed=addressed,
        )

    return CachedBatches(feed)
