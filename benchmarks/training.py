"""Training from Kafka, against the same loop on tensors in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from benchmarks.measure import Comparison, take_turns
from benchmarks.samples import CODEC
from include.feed.feed import Feed, FeedReport, Side
from include.feed.manifest import Manifest
from include.feed.split import Split
from include.kafka.connection import KafkaConnection
from include.models.convnet import ConvNet
from include.training.job import TrainingJob
from include.training.loop import train

if TYPE_CHECKING:
    import torch

TARGET = 0.9
BATCH_SIZE = 256
HELD_OUT = 0.01
THREADS = 2
MODEL = ConvNet(channels=(4, 8), hidden=32)
WARM_UP = 5_000

Batches = list[tuple["torch.Tensor", "torch.Tensor"]]


@dataclass
class MemoryFeed:
    """The feed's interface over batches in memory."""

    batches: Batches
    report: FeedReport
    epoch: int = field(default=0)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        yield from self.batches
        self.epoch += 1


def compare(
    connection: KafkaConnection,
    manifest: Manifest,
    *,
    records: int,
    repeats: int,
    on_round: Callable[[int], None],
) -> Comparison:
    """Train one epoch of `include.training.loop` both ways, from the same weights and over the same batches.

    Args:
        records: about how many of the manifest's records make the epoch.
    """
    job = _job(manifest, records)
    held = {side: _hold(connection, job, side) for side in ("train", "held_out")}

    def memory_feed(*_: object, side: Side = "train", **__: object) -> MemoryFeed:
        batches, report = held[side]
        return MemoryFeed(batches, report)

    def from_memory() -> float:
        with patch("include.training.loop.Feed", memory_feed), patch("include.feed.cached.Feed", memory_feed):
            return _epoch(connection, job)

    _epoch(connection, _job(manifest, WARM_UP))
    rates = take_turns(
        {"ours": lambda: _epoch(connection, job), "limit": from_memory}, repeats=repeats, on_round=on_round
    )
    samples = sum(held["train"][1].samples.values())
    cost_us = 1e6 / sorted(rates["limit"])[repeats // 2]
    return Comparison(
        name="training",
        ours="include.training.loop over the feed: a whole epoch from its first connection, without the evaluation",
        limit="the same loop, network and batches, all tensors in memory",
        rates=rates,
        target=TARGET,
        notes=(
            f"{samples:,} samples in batches of {BATCH_SIZE}, {THREADS} threads",
            f"convnet {MODEL.channels} with {MODEL.hidden} hidden units: {cost_us:.0f} us a sample in memory",
        ),
    )


def _job(manifest: Manifest, records: int) -> TrainingJob:
    share = -(-records // len(manifest.ranges))
    ranges = tuple(replace(item, end=min(item.end, item.start + share)) for item in manifest.ranges)
    return TrainingJob(
        manifest=replace(manifest, ranges=ranges, split=Split("benchmark", HELD_OUT)),
        format=CODEC,
        model=MODEL,
        epochs=1,
        batch_size=BATCH_SIZE,
        learning_rate=0.001,
        weight_decay=0.01,
        seed=manifest.seed,
        window=65_536,
        checkpoint_batches=1_000_000,
        threads=THREADS,
        max_rejected_share=0.01,
    )


def _hold(connection: KafkaConnection, job: TrainingJob, side: Side) -> tuple[Batches, FeedReport]:
    feed = Feed(
        connection,
        job.manifest,
        job.format,
        batch_size=job.batch_size,
        window=job.window,
        side=side,
        shuffle=side == "train",
    )
    return list(feed), feed.report


def _epoch(connection: KafkaConnection, job: TrainingJob) -> float:
    """Samples a second by the loop's own clock, which leaves the evaluation out."""
    events: list[Mapping[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as directory:
        train(job, connection, Path(directory), on_progress=events.append)
    return float(next(event["samples_per_second"] for event in events if event["event"] == "epoch"))
