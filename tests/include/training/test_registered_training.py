"""The trainer reads Avro by a Schema Registry whose password it gets through its standard input, and no other way."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from include.definition.tables import TopicLayout
from include.envelopes.avro import AvroEnvelope
from include.errors import MillraceError, PermanentError
from include.kafka.schema_registry import SchemaRegistry, registry_at
from include.reading.layout import FieldLabels
from include.training.launch import run_training
from tests.support.digit_trainings import PARTITIONS, Events, digits_pipeline, job_over
from tests.support.processes import what_it_shows
from tests.support.producers import Record, produce
from tests.support.registry_server import USER, RegistryServer, running_registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from include.kafka.connection import KafkaConnection
    from include.training.job import TrainingJob

LOGIN, _, PASSWORD = USER.partition(":")
SCHEMA = json.dumps(
    {
        "type": "record",
        "name": "Digit",
        "fields": [{"name": "png", "type": "bytes"}, {"name": "digit", "type": "int"}],
    }
)


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with running_registry() as server:
        yield server


@pytest.fixture
def registry(server: RegistryServer) -> SchemaRegistry:
    return registry_at(server.url, login=LOGIN, password=PASSWORD, extra={"max.retries": 0})


@pytest.fixture
def job(kafka: KafkaConnection, new_topic: Callable[..., str], registry: SchemaRegistry) -> TrainingJob:
    """A job of one epoch over 200 images in Avro, without keys and headers."""
    topic, own = new_topic(PARTITIONS), digits_pipeline()
    serialize = AvroSerializer(SchemaRegistryClient(dict(registry.settings)), SCHEMA)
    context = SerializationContext(topic, MessageField.VALUE)
    records = [
        Record(serialize({"png": own.format.encode(sample.content), "digit": int(sample.label)}, context), None)
        for sample in own.source.read(0, 200)
    ]
    for partition in range(PARTITIONS):
        produce(kafka, topic, itertools.islice(records, partition, None, PARTITIONS), partition=partition)
    theirs = {
        "source": None,
        "topics": TopicLayout(samples=topic),
        "envelope": AvroEnvelope(content="png"),
        "labels": FieldLabels(name="digit"),
    }
    return job_over(kafka, topic, own.model_copy(update=theirs), epochs=1)


def test_avro_is_trained_on_and_the_password_is_nowhere(
    kafka: KafkaConnection, job: TrainingJob, registry: SchemaRegistry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []

    def look_at_the_process() -> None:
        seen.append(what_it_shows(events.first("process")["pid"]))

    events = Events(process=look_at_the_process)

    result = run_training(job, replace(kafka, registry=registry), tmp_path, run="run", on_progress=events)

    assert result.outcome.train.total + result.outcome.held_out.total == 200
    assert seen
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not [text for text in (*seen, caplog.text, job.model_dump_json()) if PASSWORD in text]
    assert not [content for content in files if PASSWORD.encode() in content]


def test_a_registry_that_is_away_fails_the_attempt_and_a_retry_may_help(
    kafka: KafkaConnection, job: TrainingJob, server: RegistryServer, registry: SchemaRegistry, tmp_path: Path
) -> None:
    server.status = 503

    with pytest.raises(MillraceError, match=f"Schema Registry at {server.url} did not return schema 1") as failed:
        run_training(job, replace(kafka, registry=registry), tmp_path, run="run")

    assert not isinstance(failed.value, PermanentError)
