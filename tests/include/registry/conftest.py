"""A registry for each test, and models that were trained for a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from include.artifact.result import TrainingResult
from include.exactly_once.ledger import ledger_topic
from include.kafka.topics import ensure_topics
from include.registry import record
from include.registry.record import record_version
from include.registry.runs import open_run
from include.registry.tracking import Registry, open_registry
from include.registry.versions import Version, register_version
from include.training.loop import train
from include.training.result import store_result
from tests.support.digit_trainings import PARTITIONS, fill, job_over
from tests.support.mlflow_database import put_database

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection
    from include.training.job import TrainingJob

Register = Callable[[TrainingResult, str], Version]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test, without a database."""
    monkeypatch.setenv("MILLRACE_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path / "state"


@pytest.fixture
def registry(state: Path) -> Registry:
    """A registry of the test, with a migrated database."""
    put_database(state)
    return open_registry()


@pytest.fixture(autouse=True)
def records(monkeypatch: pytest.MonkeyPatch, new_name: Callable[[], str]) -> None:
    """Records of versions of the test's own, since each test numbers the versions of one model anew."""
    monkeypatch.setattr(record, "STEP", new_name())


@pytest.fixture(scope="session")
def job(kafka: KafkaConnection, new_topic: Callable[..., str]) -> TrainingJob:
    ensure_topics(kafka, [ledger_topic()])
    topic = new_topic(PARTITIONS)
    fill(kafka, topic, 300)
    return job_over(kafka, topic)


@pytest.fixture(scope="session")
def good(kafka: KafkaConnection, job: TrainingJob, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    directory = tmp_path_factory.mktemp("good")
    return store_result(directory, job, "good", train(job, kafka, directory))


@pytest.fixture(scope="session")
def bad(kafka: KafkaConnection, job: TrainingJob, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """Trained on the same samples with a learning rate that is too small to learn anything."""
    directory = tmp_path_factory.mktemp("bad")
    idle = job.model_copy(update={"learning_rate": 1e-9, "epochs": 1})
    return store_result(directory, job, "bad", train(idle, kafka, directory))


@pytest.fixture
def register(registry: Registry, job: TrainingJob) -> Callable[[TrainingResult, str], Version]:
    """Registers a result under the name of a workflow run."""
    return lambda result, run: register_version(open_run(registry, job.run_identity(run)), result)


@pytest.fixture
def trained(kafka: KafkaConnection, registry: Registry, register: Register) -> Register:
    """Registers a result as a training does, which records it."""

    def trained(result: TrainingResult, run: str) -> Version:
        made = register(result, run)
        record_version(kafka, registry, made)
        return made

    return trained
