"""Small trainings on the bundled digits: a topic of labelled images, and jobs over it that take a second."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.definition.files import PIPELINES, read_pipeline
from include.definition.pipeline import Pipeline
from include.kafka.headers import write_headers
from include.kafka.ranges import freeze_ranges
from include.models.convnet import ConvNet
from include.training.job import TrainingJob
from tests.support.producers import Record, produce

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection
    from include.sources.base import SourceSample

PARTITIONS = 2


def digits_pipeline() -> Pipeline:
    """The bundled pipeline with a smaller network."""
    pipeline = read_pipeline(PIPELINES / "digits.toml")
    assert isinstance(pipeline, Pipeline), pipeline
    return pipeline.model_copy(update={"model": ConvNet(channels=(8,), hidden=32, dropout=0.1)})


def fill(
    kafka: KafkaConnection,
    topic: str,
    samples: int,
    label: Callable[[SourceSample], str | None] = attrgetter("label"),
    start: int = 0,
) -> None:
    """Write images of the data set to the partitions of a topic, with their own labels or those of `label`."""
    pipeline = digits_pipeline()
    records = [
        Record(
            key=sample.id.encode(),
            value=pipeline.format.encode(sample.content),
            headers=write_headers(pipeline.format.schema_name, label=label(sample)),
        )
        for sample in pipeline.source.read(start, samples)
    ]
    for partition in range(PARTITIONS):
        produce(kafka, topic, itertools.islice(records, partition, None, PARTITIONS), partition=partition)


def job_over(kafka: KafkaConnection, topic: str, pipeline: Pipeline | None = None, **replaced: Any) -> TrainingJob:
    """A job over all records of the topic: 4 epochs of about 10 batches; `replaced` overrides its fields."""
    job = TrainingJob.of(pipeline or digits_pipeline(), freeze_ranges(kafka, topic))
    return job.model_copy(update={"epochs": 4, "batch_size": 32, "learning_rate": 0.02, "threads": 1, **replaced})


def weights(model_directory: Path) -> bytes:
    return (model_directory / "weights.safetensors").read_bytes()


class Events(list[dict[str, Any]]):
    """Records the progress events of a training; `on` maps a name to a callback for its first event."""

    def __init__(self, **on: Callable[[], object]) -> None:
        super().__init__()
        self._on = on

    def __call__(self, answer: dict[str, Any]) -> None:
        self.append(answer)
        if callback := self._on.pop(answer["event"], None):
            callback()

    def named(self, name: str) -> Iterator[dict[str, Any]]:
        return (event for event in self if event["event"] == name)

    def first(self, name: str) -> dict[str, Any]:
        return next(self.named(name))
