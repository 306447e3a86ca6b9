"""What is certain to fail hours later is refused before it begins, what is only slow is logged, by the real broker."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

import pytest
import torch

from include.kafka.ranges import OffsetRange, freeze_ranges
from include.kafka.topics import ensure_topics
from include.planning.preflight import (
    RetentionTooShort,
    before_prediction,
    refuse_short_retention,
    require_retention,
    warn_of_small_disk,
)
from include.registry.runs import RATE
from include.registry.tracking import open_registry
from include.storage.atomic import DiskFull
from include.training.checkpoint import require_checkpoint_room
from include.training.job import TrainingJob
from tests.support.administrator import change_topic
from tests.support.assertions import assert_readable
from tests.support.mlflow_database import put_database
from tests.support.producers import Record, produce
from tests.support.tiny_pipelines import tiny_pipeline

HOUR_S = 3600


@pytest.fixture(autouse=True)
def _logs(caplog, tmp_path, monkeypatch):
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("MILLRACE_STATE", str(tmp_path))
    put_database(tmp_path)


@pytest.fixture
def make_pipeline(kafka, new_name):
    """Makes a pipeline with its topics and 100 samples of an hour ago, which are kept for three hours."""

    def make(**tables):
        pipeline = tiny_pipeline(new_name().replace("-", "_"), **tables)
        ensure_topics(kafka, pipeline.topic_specs())
        change_topic(kafka, pipeline.samples_topic, "retention.ms", str(3 * HOUR_S * 1000))
        earlier = round((time.time() - HOUR_S) * 1000)
        produce(kafka, pipeline.samples_topic, [Record(timestamp_ms=earlier)] * 100)
        return pipeline

    return make


def job_of(kafka, pipeline, **settings):
    return TrainingJob.of(pipeline, freeze_ranges(kafka, pipeline.samples_topic), **settings)


def register(name, rate):
    """A version whose training ended with so many samples a second."""
    client = open_registry().client
    run = client.create_run(client.create_experiment(name))
    client.log_metric(run.info.run_id, RATE, rate, step=1)
    client.create_registered_model(name)
    tags = {"digest": "0" * 64, "manifest": "0" * 16, "job": "0" * 64, "metric": "accuracy", "accuracy": "0.5"}
    client.create_model_version(name, f"runs:/{run.info.run_id}/model", run_id=run.info.run_id, tags=tags)


def begin(kafka, pipeline, **settings):
    refuse_short_retention(kafka, job_of(kafka, pipeline, **settings))


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_tasks_without_a_partition_are_warned_of(kafka, make_pipeline, caplog):
    before_prediction(kafka, make_pipeline(topics={"partitions": 2}, prediction={"tasks": 2}))
    assert warnings_of(caplog) == []

    pipeline = make_pipeline(topics={"partitions": 2}, prediction={"tasks": 5})
    before_prediction(kafka, pipeline)

    (warning,) = warnings_of(caplog)
    assert warning.startswith(f"Topic {pipeline.requests_topic} has 2 partitions and prediction.tasks is 5")
    assert "3 tasks have nothing to do" in warning
    assert f"millrace plan {pipeline.name}" in warning


def test_a_time_that_is_not_known_is_said_and_not_guessed(kafka, make_pipeline, caplog):
    begin(kafka, make_pipeline())

    assert "How long the training of" in caplog.text
    assert warnings_of(caplog) == []


def test_a_training_that_outlasts_the_retention_is_refused_and_a_short_one_is_not(kafka, make_pipeline, caplog):
    pipeline = make_pipeline()
    # 90 of the 100 samples are trained on: 9 of them a minute are 10 minutes an epoch.
    register(pipeline.name, 9 / 60)
    share = 1 - pipeline.training.held_out

    begin(kafka, pipeline, epochs=2)
    assert warnings_of(caplog) == []
    epochs = round(3 * HOUR_S / (100 * share / (9 / 60))) + 1
    with pytest.raises(RetentionTooShort) as refusal:
        begin(kafka, pipeline, epochs=epochs)

    assert_readable(refusal.value, pipeline.samples_topic, "keeps records for 3 h", "version 1's", "raise retention.ms")
    change_topic(kafka, pipeline.samples_topic, "retention.ms", "-1")
    begin(kafka, pipeline, epochs=epochs)


def test_samples_that_reach_the_retention_meanwhile_are_warned_of(kafka, make_pipeline, caplog):
    pipeline = make_pipeline()
    produce(kafka, pipeline.samples_topic, [Record(timestamp_ms=round(time.time() * 1000))] * 20)
    # Two and a half hours, of which the samples of an hour ago have two left.
    register(pipeline.name, 120 * (1 - pipeline.training.held_out) / (2.5 * HOUR_S))

    begin(kafka, pipeline, epochs=1)

    (warning,) = warnings_of(caplog)
    assert warning.startswith(f"100 of 120 offsets of {pipeline.samples_topic} are older than 30 min")
    assert "within the 2.5 h" in warning


def test_the_limit_itself_is_enough():
    require_retention("t", 60, 60, "")
    with pytest.raises(RetentionTooShort, match="keeps records for 1 min"):
        require_retention("t", 60, 60.1, "")


def test_a_disk_that_is_too_small_for_the_cache_is_warned_of(tmp_path, caplog):
    pipeline = tiny_pipeline("disk")
    item = OffsetRange("disk.samples", "id", 0, 0, 10)
    job = TrainingJob.of(pipeline, [item])
    warn_of_small_disk(job, tmp_path / "missing", 2**60)
    assert warnings_of(caplog) == []

    many = job.model_copy(update={"manifest": replace(job.manifest, ranges=(replace(item, end=2**50),))})
    warn_of_small_disk(many, tmp_path / "missing", 2**60)

    (warning,) = warnings_of(caplog)
    assert warning.startswith(f"The disk of {tmp_path} has ")
    assert "or lower training.cache_bytes" in warning


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_network_whose_checkpoint_has_no_room_is_refused_before_it_learns(tmp_path, optimizer):
    require_checkpoint_room(tmp_path / "checkpoints", torch.nn.Linear(10, 10), optimizer)

    with pytest.raises(DiskFull) as refusal:
        require_checkpoint_room(tmp_path / "checkpoints", torch.nn.Linear(2**22, 2**22, device="meta"), optimizer)

    assert_readable(refusal.value, "There is no room for", str(tmp_path), "are free there")
