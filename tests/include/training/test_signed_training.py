"""The trainer verifies with keys that it gets through its standard input, and leaves them nowhere."""

from __future__ import annotations

import itertools
import logging
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from include.definition.tables import Signing
from include.errors import PermanentError, Stopped
from include.training.launch import run_training
from include.training.loop import CHECKPOINTS
from tests.support.assertions import assert_readable
from tests.support.digit_trainings import PARTITIONS, Events, digits_pipeline, job_over
from tests.support.processes import what_it_shows
from tests.support.producers import Record, produce
from tests.support.signed_records import KEYS, RETIRED, SECRET, signed

if TYPE_CHECKING:
    from collections.abc import Callable

    from include.kafka.connection import KafkaConnection
    from include.training.job import TrainingJob


@pytest.fixture
def job(kafka: KafkaConnection, new_topic: Callable[..., str]) -> TrainingJob:
    """A job over 198 signed images and two that nobody has signed."""
    pipeline = digits_pipeline().model_copy(update={"signing": Signing(connection="keys")})
    topic = new_topic(PARTITIONS)
    plain = [
        Record(
            pipeline.format.encode(sample.content),
            sample.id.encode(),
            [("schema", pipeline.format.schema_name.encode()), ("label", sample.label.encode())],
        )
        for sample in pipeline.source.read(0, 200)
    ]
    records = [*plain[:2], *map(signed, plain[2:])]
    for partition in range(PARTITIONS):
        produce(kafka, topic, itertools.islice(records, partition, None, PARTITIONS), partition=partition)
    return job_over(kafka, topic, pipeline, epochs=8, checkpoint_batches=1, max_rejected_share=0.5)


def test_keys_reach_the_trainer_and_nothing_else(
    kafka: KafkaConnection, job: TrainingJob, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    connection = replace(kafka, signing=KEYS)
    seen: list[str] = []
    stop = threading.Event()

    def look_at_the_process() -> None:
        seen.append(what_it_shows(events.first("process")["pid"]))

    events = Events(process=look_at_the_process, checkpoint=stop.set)
    with pytest.raises(Stopped):
        run_training(job, connection, tmp_path, run="signed", stopped=stop.is_set, on_progress=events)
    assert list((tmp_path / CHECKPOINTS).iterdir())
    seen += contents(tmp_path)
    result = run_training(job, connection, tmp_path, run="signed", on_progress=events)
    seen += contents(tmp_path)

    train, held_out = result.outcome.train, result.outcome.held_out
    assert sum(train.samples.values()) + sum(held_out.samples.values()) == 198
    assert train.refused.get("unsigned", 0) + held_out.refused.get("unsigned", 0) == 2
    seen += [caplog.text, job.model_dump_json(), repr(events)]
    assert not [text for text in seen if SECRET in text or RETIRED in text]


def contents(directory: Path) -> list[str]:
    """What can be read in its files, the model card and the weights among them."""
    return [path.read_bytes().decode("latin-1") for path in directory.rglob("*") if path.is_file()]


def test_without_keys_a_signed_job_is_refused(kafka: KafkaConnection, job: TrainingJob, tmp_path: Path) -> None:
    with pytest.raises(PermanentError) as refusal:
        run_training(job, kafka, tmp_path, run="unsigned")
    assert_readable(refusal.value, "[signing]")
