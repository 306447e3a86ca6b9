"""A full disk under every file that Millrace writes: one error sentence, no partial file, and a retry that succeeds."""

from __future__ import annotations

import functools
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest

from include.artifact.result import RESULT, TrainingResult
from include.errors import MillraceError, PermanentError, Stopped
from include.exactly_once.ledger import ledger_topic
from include.kafka.connection import KafkaConnection
from include.kafka.topics import TopicSpec, ensure_topics
from include.local.broker import running_cluster
from include.registry.runs import TrackedRun, open_run
from include.registry.tracking import open_registry
from include.registry.versions import Version, champion, download, register_version, set_champion
from include.training.checkpoint import load_checkpoint
from include.training.launch import run_training
from include.training.loop import CHECKPOINTS
from include.training.versioned import TrainedVersion, train_version
from tests.faults.rows import Row, Setting, middle
from tests.faults.training import train_here
from tests.support.assertions import assert_readable
from tests.support.digit_trainings import PARTITIONS, Events, fill, job_over, weights
from tests.support.mlflow_database import put_database
from tests.support.small_disk import SmallDisk, small_disk

if TYPE_CHECKING:
    from include.training.job import TrainingJob

PAGE = 4096
TOPIC = "disk"
IMAGES = 200


def run(setting: Setting) -> list[Row]:
    """Fill a small disk before each write, check the error and what is left on disk, make room, and try again.

    Raises:
        unittest.SkipTest: this process may not mount a disk of its own.
    """
    with small_disk(setting.folder / "small") as disk, running_cluster(setting.folder / "broker", nodes=1) as cluster:
        kafka = KafkaConnection({"bootstrap.servers": cluster.bootstrap_servers})
        ensure_topics(kafka, [TopicSpec(TOPIC, PARTITIONS), ledger_topic()])
        fill(kafka, TOPIC, IMAGES)
        trainings = _Trainings(kafka, disk, setting.folder / "runs", train_here if setting.short else run_training)
        rows = [trainings.checkpoints(), trainings.results()]
        registered = _RegisteredRun(disk, setting.folder, trainings.job, trainings.whole)
        rows += [registered.artifacts(), registered.database(), registered.models()]
        if not setting.short:
            rows.append(registered.training(kafka))
        return rows


def _refused(action: Callable[[], object], place: Path) -> None:
    """Fail unless `action` raises a temporary error whose one sentence names a path below `place`."""
    with pytest.raises(MillraceError) as refused:
        action()
    assert not isinstance(refused.value, PermanentError)
    assert_readable(refused.value, "There is no room for", place, "bytes", "try again")


def _pages(*paths: Path) -> int:
    """The size of files on disk, in bytes."""
    return sum(-(-path.stat().st_size // PAGE) * PAGE for path in paths)


class _Trainings:
    """Runs on the small disk, each compared with a run that was never interrupted.

    Args:
        train: `run_training`, or a function with its signature.
    """

    def __init__(
        self, kafka: KafkaConnection, disk: SmallDisk, elsewhere: Path, train: Callable[..., TrainingResult]
    ) -> None:
        self._kafka = kafka
        self._disk = disk
        self._elsewhere = elsewhere
        self._train = functools.partial(train, run="disk")
        self.job = job_over(kafka, TOPIC, epochs=2, checkpoint_batches=2)
        self.whole = self._train(self.job, kafka, elsewhere / "whole")

    def checkpoints(self) -> Row:
        """No room for half of the tensors, for the state, for the tensors, or for the digest."""
        directory = self._disk.path / "checkpoints-full"
        self._begin(self.job, directory, "checkpoint")
        kept = max((directory / CHECKPOINTS).iterdir(), key=lambda path: int(path.name))
        tensors, state = kept / "tensors.safetensors", kept / "state.json"
        points = [_pages(tensors) // 2, _pages(tensors), 0, _pages(tensors, state)]
        for room in points:
            self._disk.leave(room)
            _refused(lambda: self._train(self.job, self._kafka, directory), directory / CHECKPOINTS)
            assert self._disk.leftovers() == []
            assert kept.is_dir()
            assert load_checkpoint(directory / CHECKPOINTS, self.job.digest) is not None
        return self._ends_well("checkpoint directory", self.job, directory, self.whole, len(points))

    def results(self) -> Row:
        """No room for the weights, for the model card, or for the result file."""
        # The only checkpoint is the one that the stop writes.
        job = job_over(self._kafka, TOPIC, epochs=1, batch_size=1, checkpoint_batches=10_000)
        whole = self._train(job, self._kafka, self._elsewhere / "whole-result")
        directory = self._disk.path / "results-full"
        self._begin(job, directory, "started")
        model = sorted(whole.model_directory.iterdir(), reverse=True)
        points = [0, _pages(model[0]), _pages(*model)]
        for room in points:
            self._disk.leave(room)
            _refused(lambda: self._train(job, self._kafka, directory), directory / RESULT)
            assert self._disk.leftovers() == []
            assert load_checkpoint(directory / CHECKPOINTS, job.digest) is not None
        return self._ends_well("result directory", job, directory, whole, len(points))

    def _begin(self, job: TrainingJob, directory: Path, event: str) -> None:
        """Train until the first event of that name, and stop with a checkpoint.

        In this process, where the loop checks for the stop before its next batch: a trainer process could finish first.
        """
        stop: list[bool] = []
        events = Events(**{event: lambda: stop.append(True)})
        with pytest.raises(Stopped):
            train_here(job, self._kafka, directory, run="disk", stopped=lambda: bool(stop), on_progress=events)

    def _ends_well(self, what: str, job: TrainingJob, directory: Path, whole: TrainingResult, times: int) -> Row:
        self._disk.release()
        began = time.monotonic()
        events = Events()
        result = self._train(job, self._kafka, directory, on_progress=events)
        recovered = time.monotonic() - began
        assert events.first("started")["resumed"], "the last good checkpoint was not used"
        same = weights(result.model_directory) == weights(whole.model_directory)
        shutil.rmtree(directory)  # noqa: TID251 - this scenario's own
        return Row(f"full disk: {what}", times, lost=int(not same), duplicated=0, recovered_s=middle([recovered]))


class _RegisteredRun:
    """A finished run, with MLflow's database, its artifacts or the model cache on the small disk."""

    def __init__(self, disk: SmallDisk, folder: Path, job: TrainingJob, result: TrainingResult) -> None:
        self._disk = disk
        self._folder = folder
        self._job = job
        self._result = result

    def artifacts(self) -> Row:
        """No room for the manifest, the picture, the card or the weights."""
        with self._state("artifacts", state=self._disk.path) as run:
            run.log_result(self._result)
            names = (
                "manifest.json",
                "confusion_matrix.png",
                "confusion_matrix.json",
                "model/model_card.json",
                "model/weights.safetensors",
            )
            stored = [run.artifacts / name for name in names]
            rooms = [_pages(*stored[:position]) for position in range(len(stored))]
            for path, room in zip(stored, rooms, strict=True):
                shutil.rmtree(run.artifacts)  # noqa: TID251 - this scenario's own
                self._disk.leave(room)
                _refused(lambda: self._register(run), path)
                assert self._disk.leftovers() == []
                assert self._versions(run) == []
            row = self._registers_once("MLflow's artifacts", run, len(stored))
        for name in ("mlflow", "models"):
            shutil.rmtree(self._disk.path / name)  # noqa: TID251 - this scenario's own
        return row

    def database(self) -> Row:
        """No room for a run, its epochs, its version or an alias."""
        database = self._disk.path / "mlflow.db"
        with self._state("database", database=database) as run:
            self._disk.leave(0)
            history = self._result.outcome.history
            _refused(lambda: open_run(run.registry, self._job.run_identity("another")), database)
            _refused(lambda: run.log_epochs(history), database)
            self._disk.release()
            run.log_result(self._result)
            self._disk.leave(0)
            _refused(lambda: self._register(run), database)
            assert self._versions(run) == []
            row = self._registers_once("MLflow's database", run, 4)
            (version,) = self._versions(run)
            self._disk.leave(0)
            _refused(lambda: set_champion(run.registry, version), database)
            assert champion(run.registry, version.name) is None
            self._disk.release()
            set_champion(run.registry, version)
            assert champion(run.registry, version.name) == version
            with closing(sqlite3.connect(database)) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return row

    def models(self) -> Row:
        """No room in the model cache for a version that prediction loads."""
        points = [0, _pages(self._result.model_directory / "weights.safetensors")]
        with self._state("models") as run:
            version = self._register(run)
            os.environ["MILLRACE_STATE"] = str(self._disk.path)
            for room in points:
                self._disk.leave(room)
                _refused(lambda: download(run.registry, version), self._disk.path / "models")
                assert self._disk.leftovers() == []
            self._disk.release()
            began = time.monotonic()
            same = weights(download(run.registry, version)) == weights(self._result.model_directory)
        recovered = middle([time.monotonic() - began])
        return Row("full disk: models' copies", len(points), lost=int(not same), duplicated=0, recovered_s=recovered)

    def training(self, kafka: KafkaConnection) -> Row:
        """No room in MLflow's database during the whole training: the trained model is kept."""
        database = self._disk.path / "filled.db"
        with self._state("training", database=database) as run:

            def train(on_progress: Events) -> TrainedVersion:
                return train_version(self._job, kafka, run="filled", on_progress=on_progress)

            _refused(lambda: train(Events(started=lambda: self._disk.leave(0))), database)
            self._disk.release()
            began = time.monotonic()
            events = Events()
            trained = train(events)
            recovered = middle([time.monotonic() - began])
            assert [event["event"] for event in events] == ["process"], "it was trained again"
            points = run.registry.client.get_metric_history(trained.version.run_id, "train_loss")
            assert [point.step for point in points] == list(range(1, self._job.epochs + 1))
            same = weights(download(run.registry, trained.version)) == weights(self._result.model_directory)
        return Row("full disk: MLflow's database during a training", 1, int(not same), 0, recovered)

    @contextmanager
    def _state(self, name: str, *, state: Path | None = None, database: Path | None = None) -> Iterator[TrackedRun]:
        """A run in a new MLflow, whose state folder or database may be on the small disk."""
        folder = self._folder / name
        put_database(folder)
        made = folder / "mlflow" / "mlflow.db"
        uri = f"sqlite:///{shutil.copy(made, database) if database else made}"
        with patch.dict(os.environ, MILLRACE_STATE=str(state or folder), MLFLOW_TRACKING_URI=uri):
            yield open_run(open_registry(), self._job.run_identity("run"))

    def _register(self, run: TrackedRun) -> Version:
        return register_version(run, self._result)

    def _versions(self, run: TrackedRun) -> list[Version]:
        found = run.registry.client.search_model_versions(f"run_id = '{run.id}'")
        return [self._register(run) for _ in found]

    def _registers_once(self, what: str, run: TrackedRun, times: int) -> Row:
        self._disk.release()
        began = time.monotonic()
        self._register(run)
        recovered = middle([time.monotonic() - began])
        again = self._register(run)
        count = len(self._versions(run))
        same = weights(download(run.registry, again)) == weights(self._result.model_directory)
        return Row(f"full disk: {what}", times, int(not same), duplicated=count - 1, recovered_s=recovered)
