"""Training from Kafka, against the same loop on tensors in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar
from unittest.mock import patch

from benchmarks.measure import Comparison, Run, Stopwatch
from benchmarks.samples import CODEC
from include.codecs.base import Codec
from include.feed.feed import Feed, FeedReport
from include.feed.manifest import Manifest
from include.feed.side import Side
from include.feed.split import Split
from include.kafka.connection import KafkaConnection
from include.kafka.records import Address
from include.models.imported import ImportedModel
from include.training.job import TrainingJob
from include.training.loop import train

if TYPE_CHECKING:
    import torch

BATCH_SIZE = 256
HELD_OUT = 0.01
WARM_UP = 5_000
# Enough for all samples of the benchmark; the default of `[training] cache_bytes` is larger.
CACHE_BYTES = 512 * 2**20


@dataclass(frozen=True)
class Scenario:
    """A network, and what it has to reach.

    Attributes:
        threads: of torch; with so many the loop in memory is fastest on two processors.
        records: about how many make an epoch, where the topic has as many.
        first, later: target ratios of the first epoch and of those after it; None where they are not distinguished.
        whole: the target of all epochs together.
    """

    name: str
    model: ImportedModel
    threads: int
    records: int
    epochs: int
    first: float | None = None
    later: float | None = None
    whole: float | None = None


PERCEPTRON = ImportedModel(kind="benchmarks.networks:perceptron", hidden=128)
CONVOLUTION = ImportedModel(kind="benchmarks.networks:convolution", channels=28)
SCENARIOS = (
    Scenario("a light network", PERCEPTRON, threads=1, records=240_000, epochs=3, first=0.8, later=0.95),
    Scenario("a convolutional network", CONVOLUTION, threads=2, records=120_000, epochs=5, whole=0.97),
)

# Of samples that are in no log.
NOWHERE = Address("memory", 0, 0)

Batches = list[tuple["torch.Tensor", "torch.Tensor"]]
Epochs = list[Run]


@dataclass
class MemoryFeed:
    """The feed's interface over batches in memory."""

    codec: ClassVar[Codec] = CODEC

    batches: Batches
    report: FeedReport
    epoch: int = 0
    addresses: list[Address] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)

    def for_device(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for batch, labels in self.batches:
            self.addresses = [NOWHERE] * len(labels)
            yield batch, labels
        self.epoch += 1

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch}


def compare(
    connection: KafkaConnection, manifest: Manifest, *, repeats: int, on_round: Callable[[int], None]
) -> Iterator[Comparison]:
    """Train by `include.training.loop` both ways, from the same weights and over the same batches."""
    for scenario in SCENARIOS:
        yield from _compare(connection, scenario, manifest, repeats=repeats, on_round=on_round)


def _compare(
    connection: KafkaConnection,
    scenario: Scenario,
    manifest: Manifest,
    *,
    repeats: int,
    on_round: Callable[[int], None],
) -> Iterator[Comparison]:
    job = training_job(scenario, manifest, scenario.records)
    held = {side: _hold(connection, job, side) for side in ("train", "held_out")}

    def memory_feed(*_: object, side: Side = "train", **__: object) -> MemoryFeed:
        batches, report = held[side]
        return MemoryFeed(batches, report)

    def from_memory() -> Epochs:
        with patch("include.training.loop.Feed", memory_feed), patch("include.feed.cached.Feed", memory_feed):
            return _train(connection, job)

    _train(connection, training_job(scenario, manifest, WARM_UP))
    trained: dict[str, list[Epochs]] = {"ours": [], "limit": []}
    for number in range(1, repeats + 1):
        on_round(number)
        trained["ours"].append(_train(connection, job))
        trained["limit"].append(from_memory())
    samples = sum(held["train"][1].samples.values())
    cost_us = 1e6 / median(run.rate for epochs in trained["limit"] for run in epochs)
    parts = {
        "first epoch": (scenario.first, slice(0, 1)),
        "later epochs": (scenario.later, slice(1, None)),
        f"{scenario.epochs} epochs": (scenario.whole, slice(None)),
    }
    for part, (target, epochs) in parts.items():
        if target is None:
            continue
        yield Comparison(
            name=f"training, {scenario.name}, {part}",
            question="How much longer does a training take from Kafka than from memory?",
            ours="include.training.loop over the feed and its cache, from the first connection, without the evaluation",
            limit="the same loop, network and batches, all tensors in memory",
            runs={name: [_together(item[epochs]) for item in runs] for name, runs in trained.items()},
            target=target,
            unit="samples/s",
            notes=(
                "the processor time includes the evaluation, for which the first epoch reads the topic once more",
                f"{samples:,} samples in batches of {BATCH_SIZE}, torch threads: {scenario.threads}",
                f"{scenario.model!r}: {cost_us:.0f} us a sample in memory",
            ),
        )


def training_job(scenario: Scenario, manifest: Manifest, records: int) -> TrainingJob:
    """A training of about so many of the manifest's records."""
    share = -(-records // len(manifest.ranges))
    ranges = tuple(replace(item, end=min(item.end, item.start + share)) for item in manifest.ranges)
    return TrainingJob(
        manifest=replace(manifest, ranges=ranges, split=Split("benchmark", HELD_OUT)),
        format=CODEC,
        model=scenario.model,
        epochs=scenario.epochs,
        batch_size=BATCH_SIZE,
        learning_rate=0.001,
        weight_decay=0.01,
        seed=manifest.seed,
        window=65_536,
        checkpoint_batches=1_000_000,
        threads=scenario.threads,
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
    return list(feed.for_device()), feed.report


def _train(connection: KafkaConnection, job: TrainingJob) -> Epochs:
    """The epochs by the loop's own clock, which leaves the evaluation out."""
    epochs: Epochs = []
    watch = Stopwatch()

    def add(event: Mapping[str, Any]) -> None:
        nonlocal watch
        if event["event"] == "epoch":
            epochs.append(watch.run(event["samples"], seconds=event["seconds"]))
            watch = Stopwatch()

    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as directory:
        train(job, connection, Path(directory), on_progress=add, cache_bytes=CACHE_BYTES)
    return epochs


def _together(epochs: Epochs) -> Run:
    """One run of several, all of the same number of samples."""
    return Run(len(epochs) / sum(1 / run.rate for run in epochs), sum(run.cpu_ns for run in epochs) / len(epochs))
