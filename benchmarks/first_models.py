"""`python -m benchmarks.first_models`: the first models of new pipelines, beside classical models on the same split."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.baselines import LabelledRecords, baseline_for
from include.commands.new_pipeline import Modality, SourceKind, new_pipeline
from include.definition.files import load_pipeline
from include.exactly_once.attempt import Attempt
from include.feed.manifest import Manifest
from include.feed.split import group_crcs
from include.ingest.batch import ingest_batch
from include.kafka.connection import KafkaConnection
from include.kafka.ranges import freeze_ranges
from include.kafka.reader import read_ranges
from include.kafka.topics import ensure_topics
from include.local.broker import running_cluster
from include.reading.records import record_reader
from include.training.job import TrainingJob
from include.training.launch import run_training

# A pipe has no width, and the table needs more than the default of 80.
console = Console(width=None if sys.stdout.isatty() else 160)

HEADINGS = ("samples", "held out", "accuracy", "baseline", "ready, s", "training, s", "CPU, s", "samples/s", "peak, MB")

Folders = Annotated[list[Path] | None, typer.Option(help="A folder with one folder a class; may be repeated.")]


@dataclass
class Usage:
    """The largest resident memory of the trainer, in bytes, and its processor time, in seconds."""

    trainer: psutil.Process | None = None
    peak: int = 0
    cpu_s: float = 0.0

    def on_progress(self, event: dict[str, Any]) -> None:
        if event["event"] == "process":
            self.trainer = psutil.Process(event["pid"])

    def sample(self) -> bool:
        """Polled in place of a request to stop, ten times a second; returns False."""
        if self.trainer is not None:
            try:
                self.peak = max(self.peak, self.trainer.memory_info().rss)
                times = self.trainer.cpu_times()
                self.cpu_s = times.user + times.system
            except psutil.NoSuchProcess:
                self.trainer = None
        return False


@dataclass(frozen=True)
class FirstModel:
    """Measurements of one folder.

    Attributes:
        ready_s: from the survey to the end of the first batch.
        training_s, cpu_s: the whole training process, with its evaluations: elapsed, and time of its processors.
        samples_per_second: median of the epochs, without the evaluations.
        peak: of the training process, in bytes.
    """

    folder: Path
    samples: int
    held_out: int
    accuracy: float
    baseline: str
    baseline_accuracy: float
    ready_s: float
    training_s: float
    cpu_s: float
    samples_per_second: float
    peak: int


def main(images: Folders = None, sounds: Folders = None, texts: Folders = None) -> None:
    """Make a pipeline of each folder, send its first batch to a real broker, train, and compare."""
    logging.basicConfig(level=logging.ERROR)
    folders = {Modality.IMAGE: images, Modality.AUDIO: sounds, Modality.TEXT: texts}
    models: list[FirstModel] = []
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as temporary:
        place = Path(temporary)
        os.environ |= {"MILLRACE_PIPELINES": str(place), "MILLRACE_STATE": str(place / "state")}
        with running_cluster(place / "broker") as cluster:
            connection = KafkaConnection({"bootstrap.servers": cluster.bootstrap_servers})
            wanted = [(modality, path) for modality, paths in folders.items() for path in paths or ()]
            for number, (modality, path) in enumerate(wanted):
                models.append(_measure(connection, f"first_{number}", modality, path))
                console.print(_table(models))


def _measure(connection: KafkaConnection, name: str, modality: Modality, path: Path) -> FirstModel:
    began = time.monotonic()
    new_pipeline(name, str(path.resolve()), SourceKind.FOLDER, modality)
    pipeline = load_pipeline(name)
    ensure_topics(connection, pipeline.topic_specs())
    attempt = Attempt(connection, name, "ingest", "run-1")
    ingest_batch(attempt, pipeline, "first", records=pipeline.ingest.records)
    job = TrainingJob.of(pipeline, freeze_ranges(connection, pipeline.samples_topic))
    ready = time.monotonic()
    usage = Usage()
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as directory:
        result = run_training(
            job, connection, Path(directory), run="run-1", stopped=usage.sample, on_progress=usage.on_progress
        )
    trained = time.monotonic()
    history = result.outcome.history
    train, held_out = _sides(connection, job.manifest)
    baseline = baseline_for(pipeline.format)
    return FirstModel(
        folder=path,
        samples=len(train.values),
        held_out=len(held_out.values),
        accuracy=result.score,
        baseline=baseline.name,
        baseline_accuracy=baseline.accuracy(train, held_out),
        ready_s=ready - began,
        training_s=trained - ready,
        cpu_s=usage.cpu_s,
        samples_per_second=median(epoch["samples_per_second"] for epoch in history),
        peak=usage.peak,
    )


def _sides(connection: KafkaConnection, manifest: Manifest) -> tuple[LabelledRecords, LabelledRecords]:
    """The records to train on, and those held out."""
    sides: tuple[list[tuple[bytes, str]], list[tuple[bytes, str]]] = ([], [])
    for value, label, is_held_out in _labelled(connection, manifest):
        sides[is_held_out].append((value, label))
    train, held_out = (LabelledRecords(*zip(*side, strict=True)) for side in sides)
    return train, held_out


def _labelled(connection: KafkaConnection, manifest: Manifest) -> Iterator[tuple[bytes, str, bool]]:
    with record_reader(connection, manifest.reading, manifest.schema, split=manifest.split.given) as reader:
        for _, messages in read_ranges(connection, "baseline", manifest.ranges):
            records = reader.read(messages)
            sides = manifest.split.sides(group_crcs(records.groups), records.splits)
            for value, label, held_out in zip(records.contents, records.labels, sides.tolist(), strict=True):
                if value is not None and isinstance(label, str):
                    yield value, label, held_out


def _table(models: list[FirstModel]) -> Table:
    table = Table("folder", title="First models of new pipelines, held out")
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
    for model in models:
        table.add_row(
            model.folder.name,
            f"{model.samples:,}",
            f"{model.held_out:,}",
            f"{model.accuracy:.4f}",
            f"{model.baseline_accuracy:.4f} ({model.baseline})",
            f"{model.ready_s:.0f}",
            f"{model.training_s:.0f}",
            f"{model.cpu_s:.0f}",
            f"{model.samples_per_second:,.0f}",
            f"{model.peak / 1e6:,.0f}",
        )
    return table


if __name__ == "__main__":
    typer.run(main)
