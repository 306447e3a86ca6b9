"""Training that becomes a version: the trainer's process and MLflow together."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from include.artifact.model import load_model
from include.artifact.result import RESULT
from include.errors import Stopped
from include.registry.tracking import NotMigrated, open_registry
from include.registry.versions import download, version
from include.storage.locks import locked
from include.training.job import LEASE, run_directory
from include.training.versioned import train_version
from tests.support.digit_trainings import Events, job_over
from tests.support.mlflow_database import put_database

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MILLRACE_STATE", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def test_a_database_that_was_never_made_is_refused_before_anything_is_begun(
    kafka: KafkaConnection, images: str, state: Path
) -> None:
    with pytest.raises(NotMigrated):
        train_version(job_over(kafka, images), kafka, run="run")
    assert list(state.iterdir()) == []


def test_a_stop_between_the_training_and_its_version_makes_none(
    kafka: KafkaConnection, images: str, state: Path
) -> None:
    put_database(state)
    job = job_over(kafka, images, epochs=1)
    with pytest.raises(Stopped):
        train_version(job, kafka, run="run", stopped=(run_directory(job, "run") / RESULT).is_dir)
    assert open_registry().client.search_model_versions(f"name = '{job.pipeline}'") == []
    assert train_version(job, kafka, run="run").version.number == 1


def test_stopped_then_retried_then_repeated_it_is_one_run_and_one_version(
    kafka: KafkaConnection, images: str, state: Path
) -> None:
    put_database(state)
    job = job_over(kafka, images, epochs=3)
    directory = run_directory(job, "a run/1")
    assert directory.is_relative_to(state / "runs" / job.pipeline)
    stop = threading.Event()
    with locked(directory / LEASE, timeout_s=60), pytest.raises(Stopped):
        train_version(job, kafka, run="a run/1", stopped=stop.is_set, on_progress=Events(process=stop.set))
    client = open_registry().client
    (run,) = client.search_runs([client.get_experiment_by_name(job.pipeline).experiment_id])
    assert run.info.status == "KILLED"

    trained = train_version(job, kafka, run="a run/1")
    assert trained.version.run_id == run.info.run_id
    assert client.get_run(run.info.run_id).info.status == "FINISHED"
    points = client.get_metric_history(run.info.run_id, "held_out_accuracy")
    assert [point.step for point in points] == [1, 2, 3]

    repeated = train_version(job, kafka, run="a run/1")
    assert repeated.version == trained.version == version(open_registry(), job.pipeline, 1)
    model = load_model(download(open_registry(), trained.version), trained.version.digest)
    assert model.card.manifest_id == job.manifest.id
