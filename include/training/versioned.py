"""A training that becomes a model version: run in the trainer's process, logged to MLflow and registered."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from include.artifact.result import TrainingResult
from include.errors import MillraceError, Stopped
from include.kafka.connection import KafkaConnection
from include.registry.record import record_version, require_recordable
from include.registry.runs import HELD_OUT, Status, TrackedRun, open_run
from include.registry.tracking import RegistryUnavailable, check_tracking, open_registry
from include.registry.versions import Version, register_version
from include.storage.atomic import DiskFull
from include.storage.locks import locked
from include.training.initial_weights import weights_file
from include.training.job import LEASE, LEASE_TIMEOUT_S, TrainingJob, run_directory
from include.training.launch import run_training

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedVersion:
    """A finished run and its model version."""

    result: TrainingResult
    version: Version


def train_version(
    job: TrainingJob,
    connection: KafkaConnection,
    *,
    run: str,
    cache_bytes: int = 0,
    stopped: Callable[[], bool] = lambda: False,
    on_progress: Callable[[dict[str, Any]], None] = lambda _: None,
) -> TrainedVersion:
    """Train the job in a process of its own, log it to MLflow meanwhile, and register its model version.

    The ledger keeps its digest. A repeated attempt continues the same MLflow run, logs no epoch twice, and registers
    one version.

    Args:
        run: the workflow run's id, which together with the job identifies the run's directory and its MLflow run.
        cache_bytes, stopped, on_progress: see `run_training`.

    Raises:
        NotMigrated, UnknownTracking, RegistryUnavailable: see `include.registry.tracking`; the first two before
            the training begins.
        AccessDenied: a right is missing that only the end of the training needs; before it begins.
        NoSuchVersion, WrongModel, WrongInitialWeights: the weights that the job starts from are missing.
        Stopped, PermanentError, MillraceError: see `run_training`.
    """
    check_tracking()
    require_recordable(connection, job.pipeline)
    directory = run_directory(job, run)
    tracker = _Tracker(job, run)

    def on_answer(answer: dict[str, Any]) -> None:
        tracker.take(answer)
        on_progress(answer)

    try:
        weights = None if job.start is None else weights_file(job.start)
        result = run_training(
            job,
            connection,
            directory,
            run=run,
            weights=weights,
            cache_bytes=cache_bytes,
            stopped=stopped,
            on_progress=on_answer,
        )
        # An earlier attempt that Airflow took for dead may still be alive.
        with locked(directory / LEASE, timeout_s=LEASE_TIMEOUT_S, stopped=stopped):
            version = _register(tracker.run, result, stopped)
        record_version(connection, tracker.run.registry, version)
        tracker.run.end("FINISHED")
    except Stopped:
        tracker.abandon("KILLED")
        raise
    except BaseException:
        tracker.abandon("FAILED")
        raise
    return TrainedVersion(result, version)


def _register(run: TrackedRun, result: TrainingResult, stopped: Callable[[], bool]) -> Version:
    if stopped():
        raise Stopped("Stopped after the training and before its registration: the next attempt registers the version.")
    return register_version(run, result)


class _Tracker:
    """Passes the trainer's answers on to MLflow, which is imported while the trainer imports torch."""

    def __init__(self, job: TrainingJob, run: str) -> None:
        self._job = job
        self._name = run
        self._run: TrackedRun | None = None

    @property
    def run(self) -> TrackedRun:
        if self._run is None:
            self._run = open_run(open_registry(), self._job.run_identity(self._name))
        return self._run

    def take(self, answer: dict[str, Any]) -> None:
        event = answer["event"]
        if event == "process":
            log.info("The trainer is process %d; MLflow run %s.", answer["pid"], self.run.id)
        elif event == "started":
            begins = "resumes" if answer["resumed"] else "begins"
            log.info("Training %s in epoch %d on %s.", begins, answer["epoch"], answer["device"])
        elif event == "epoch":
            held_out = ((name.removeprefix(HELD_OUT), answer[name]) for name in answer if name.startswith(HELD_OUT))
            scores = ", ".join(f"held-out {name} {value:.4f}" for name, value in held_out)
            text = (
                "Epoch %(epoch)d of %(epochs)d: loss %(train_loss).4f, %(scores)s, %(samples_per_second).0f samples/s."
            )
            log.info(text, {**answer, "scores": scores})
            self._log_epoch(answer)
        elif event == "batches":
            log.info(
                "Epoch %(epoch)d of %(epochs)d, batch %(batch)d: loss %(train_loss).4f, "
                "%(samples_per_second).0f samples/s.",
                answer,
            )

    def _log_epoch(self, answer: dict[str, Any]) -> None:
        try:
            self.run.log_epochs([answer])
        except (RegistryUnavailable, DiskFull) as error:
            # The result has all epochs again; a registry that is down for a minute must not fail an hour of training.
            log.warning("Epoch %d is logged later: %s", answer["epoch"], error)

    def abandon(self, status: Status) -> None:
        """Try to close the run; the error that ended the training is the one to report."""
        if self._run is None:
            return
        try:
            self._run.end(status)
        except MillraceError as error:
            log.warning("%s", error)
