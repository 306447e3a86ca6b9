"""The trainer as a process: killed, stopped, orphaned, and always ending with the same bits."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from include.artifact.result import TrainingResult, read_result
from include.errors import PermanentError, Stopped
from include.kafka.connection import KafkaConnection
from include.storage.locks import locked
from include.storage.state import PROJECT_ROOT
from include.training import launch
from include.training.job import LEASE
from include.training.launch import TrainerDied, run_training
from include.training.loop import CHECKPOINTS
from include.training.worker import work
from tests.support.assertions import assert_readable
from tests.support.digit_trainings import Events, job_over, weights
from tests.support.processes import is_gone, wait_for, what_it_shows

if TYPE_CHECKING:
    from include.training.job import TrainingJob


@pytest.fixture(scope="module")
def job(kafka: KafkaConnection, images: str) -> TrainingJob:
    return job_over(kafka, images, epochs=8, checkpoint_batches=2)


def request_for(kafka: KafkaConnection, job: TrainingJob, directory: Path, run: str = "test") -> dict[str, Any]:
    """What a trainer reads from its standard input."""
    return {
        "parent": os.getpid(),
        "directory": str(directory),
        "job": job.model_dump(mode="json"),
        "connection": {"settings": dict(kafka.settings), "timeout_s": kafka.timeout_s},
        "run": run,
        "cache_bytes": 2**20,
        "lease_timeout_s": 60,
    }


def train_here(kafka: KafkaConnection, job: TrainingJob, directory: Path, run: str = "test") -> TrainingResult:
    """What a trainer does, without a process of its own."""
    work(request_for(kafka, job, directory, run), lambda: False, lambda _: None)
    result = read_result(directory, job.digest)
    assert result is not None
    return result


@pytest.fixture(scope="module")
def whole(kafka: KafkaConnection, job: TrainingJob, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """The run that nobody interrupts."""
    return train_here(kafka, job, tmp_path_factory.mktemp("whole"), "whole")


@pytest.fixture
def finished(whole: TrainingResult, tmp_path: Path) -> Path:
    """A run's directory with a result, of the test's own."""
    directory = whole.model_directory.parent.parent
    return Path(shutil.copytree(directory, tmp_path / "finished"))


PARENT = """
import json, sys
from pathlib import Path
from include.kafka.connection import KafkaConnection
from include.training.job import TrainingJob
from include.storage.locks import locked
from include.training.job import LEASE
from include.training.launch import run_training
request = json.loads(sys.stdin.readline())
run_training(
    TrainingJob.model_validate(request["job"]),
    KafkaConnection(**request["connection"]),
    Path(request["directory"]),
    run=request["run"],
    on_progress=lambda answer: print(json.dumps(answer), flush=True),
)
"""


@dataclass(frozen=True)
class Orphan:
    """A trainer whose parent was killed in the middle of the training, and its run's directory."""

    pid: int
    directory: Path


@pytest.fixture(scope="module")
def orphan(kafka: KafkaConnection, job: TrainingJob, tmp_path_factory: pytest.TempPathFactory) -> Orphan:
    directory = tmp_path_factory.mktemp("orphan")
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=PROJECT_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with parent:
        parent.stdin.write(json.dumps(request_for(kafka, job, directory, "orphan")) + "\n")
        parent.stdin.flush()
        pid = json.loads(parent.stdout.readline())["pid"]
        events = (json.loads(line)["event"] for line in parent.stdout)
        assert "checkpoint" in events
        parent.kill()
    return Orphan(pid, directory)


def test_the_trainer_dies_with_its_parent(orphan: Orphan) -> None:
    wait_for(lambda: is_gone(orphan.pid), f"trainer {orphan.pid} to die with its parent")
    assert not (orphan.directory / "result").exists(), "it had finished before its parent was killed"


def test_a_killed_run_that_is_retried_has_the_weights_of_one_never_killed(
    kafka: KafkaConnection, job: TrainingJob, whole: TrainingResult, orphan: Orphan
) -> None:
    events = Events()
    result = run_training(job, kafka, orphan.directory, run="orphan", on_progress=events)
    assert events.first("started")["resumed"]
    assert weights(result.model_directory) == weights(whole.model_directory)


def test_a_stopped_run_that_is_retried_has_the_weights_of_one_never_stopped(
    kafka: KafkaConnection, job: TrainingJob, whole: TrainingResult, tmp_path: Path
) -> None:
    stop = threading.Event()
    with pytest.raises(Stopped) as stopped:
        run_training(job, kafka, tmp_path, run="stopped", stopped=stop.is_set, on_progress=Events(started=stop.set))
    assert_readable(stopped.value, "checkpoint is written")
    assert list((tmp_path / CHECKPOINTS).iterdir())
    assert weights(train_here(kafka, job, tmp_path).model_directory) == weights(whole.model_directory)


def test_a_killed_trainer_is_reported_with_its_signal(kafka: KafkaConnection, job: TrainingJob, finished: Path) -> None:
    events = Events(process=lambda: os.kill(events.first("process")["pid"], signal.SIGKILL))
    with locked(finished / LEASE, timeout_s=60), pytest.raises(TrainerDied) as died:
        run_training(job, kafka, finished, run="killed", on_progress=events)
    assert_readable(died.value, "SIGKILL")


def test_a_finished_run_keeps_no_checkpoints(finished: Path) -> None:
    assert sorted(path.name for path in finished.iterdir()) == ["lease", "result"]


def test_a_finished_run_is_not_trained_again(kafka: KafkaConnection, job: TrainingJob, finished: Path) -> None:
    events = Events()
    result = run_training(job, kafka, finished, run="again", on_progress=events)
    assert [event["event"] for event in events] == ["process"]
    assert result.outcome.run == "whole"


def test_a_result_that_was_changed_is_trained_again(
    kafka: KafkaConnection, job: TrainingJob, whole: TrainingResult, finished: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = finished / "result" / "model" / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    result = train_here(kafka, job, finished)
    assert weights(result.model_directory) == weights(whole.model_directory)
    assert "trained again" in caplog.text


def test_a_second_trainer_waits_until_the_first_has_let_go(
    kafka: KafkaConnection, job: TrainingJob, finished: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    results: list[TrainingResult] = []
    second = threading.Thread(target=lambda: results.append(run_training(job, kafka, finished, run="second")))
    with locked(finished / LEASE, timeout_s=60):
        second.start()
        wait_for(lambda: f"which process {os.getpid()} holds" in caplog.text, "the second trainer to wait")
        assert results == []
    second.join(30)
    assert len(results) == 1


def test_a_lease_that_is_never_free_is_an_error_with_its_holder(
    kafka: KafkaConnection, job: TrainingJob, finished: Path
) -> None:
    with locked(finished / LEASE, timeout_s=60), pytest.raises(Exception, match="has held the lock") as refused:
        run_training(job, kafka, finished, run="second", lease_timeout_s=0.1)
    assert not isinstance(refused.value, PermanentError)
    assert_readable(refused.value, os.getpid())


def test_a_stop_while_it_waits_for_the_lease_ends_it(kafka: KafkaConnection, job: TrainingJob, finished: Path) -> None:
    stop = threading.Event()
    with locked(finished / LEASE, timeout_s=60), pytest.raises(Stopped):
        run_training(job, kafka, finished, run="second", stopped=stop.is_set, on_progress=Events(process=stop.set))


@pytest.mark.parametrize(
    ("end", "status"),
    [
        # Where the kernel can't signal a parent's death to its child, the end of the pipe does.
        pytest.param(lambda trainer: trainer.stdin.close(), -signal.SIGKILL, id="end of input"),
        pytest.param(lambda trainer: trainer.terminate(), 3, id="SIGTERM"),
        pytest.param(lambda trainer: (trainer.send_signal(signal.SIGINT), trainer.terminate()), 3, id="Ctrl-C"),
    ],
)
def test_how_the_trainer_ends(
    kafka: KafkaConnection, job: TrainingJob, finished: Path, end: Callable[[Any], object], status: int
) -> None:
    with (
        locked(finished / LEASE, timeout_s=60),
        subprocess.Popen(
            [sys.executable, "-m", "include.training.worker"],
            cwd=PROJECT_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as trainer,
    ):
        trainer.stdin.write(json.dumps(request_for(kafka, job, finished)) + "\n")
        trainer.stdin.flush()
        assert json.loads(trainer.stdout.readline())["event"] == "process"
        end(trainer)
        assert trainer.wait(30) == status


def test_no_secret_is_seen_from_outside(
    kafka: KafkaConnection, job: TrainingJob, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "correct-horse-battery"  # noqa: S105 - a test's own
    monkeypatch.setenv("AIRFLOW_CONN_KAFKA_DEFAULT", json.dumps({"extra": {"sasl.password": secret}}))
    connection = replace(kafka, settings={**kafka.settings, "sasl.password": secret})
    seen: list[str] = []
    stop = threading.Event()

    def look() -> None:
        seen.append(what_it_shows(events.first("process")["pid"]))
        stop.set()

    events = Events(process=look)
    with locked(finished / LEASE, timeout_s=60), pytest.raises(Stopped):
        run_training(job, connection, finished, run="secret", stopped=stop.is_set, on_progress=events)
    assert "include.training.worker" in seen[0]
    assert secret not in seen[0]
    assert not [path for path in finished.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


HIDDEN = """
import ctypes, sys
from include.training import worker
PR_GET_DUMPABLE = 3
worker.work = lambda request, stopped, send: send({"dumpable": ctypes.CDLL(None).prctl(PR_GET_DUMPABLE)})
sys.exit(worker.main())
"""


def test_no_other_process_of_the_user_can_read_the_trainer_s_memory() -> None:
    """Root can; so the kernel is asked, and no memory is read here."""
    with subprocess.Popen(
        [sys.executable, "-c", HIDDEN], cwd=PROJECT_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as trainer:
        trainer.stdin.write(json.dumps({"parent": os.getpid()}) + "\n")
        trainer.stdin.flush()
        assert json.loads(trainer.stdout.readline()) == {"dumpable": 0}


def test_a_setting_that_only_this_process_can_hold_is_refused(
    kafka: KafkaConnection, job: TrainingJob, tmp_path: Path
) -> None:
    connection = replace(kafka, settings={**kafka.settings, "oauth_cb": lambda _: ("token", 0.0)})
    with pytest.raises(PermanentError) as refused:
        run_training(job, connection, tmp_path, run="callable")
    assert_readable(refused.value, "oauth_cb", "function")


STAYING = """#!{python}
import os, time
from include.training import worker
assert worker.main() == 0
os.closerange(1, 256)
time.sleep(600)
"""


def test_a_trainer_that_stays_after_its_result_is_killed_and_the_result_counts(
    kafka: KafkaConnection, job: TrainingJob, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text(STAYING.format(python=sys.executable))
    python.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(launch, "STOP_TIMEOUT_S", 0.5)
    events = Events()

    result = run_training(job, kafka, finished, run="whole", on_progress=events)

    assert result == read_result(finished, job.digest)
    assert is_gone(events.first("process")["pid"])


def test_what_the_trainer_refuses_comes_back_as_it_was_said(
    kafka: KafkaConnection, job: TrainingJob, finished: Path
) -> None:
    other = job.model_copy(update={"epochs": 77})
    with pytest.raises(PermanentError) as refused:
        run_training(other, kafka, finished, run="other")
    assert_readable(refused.value, "belongs to job", job.digest[:12], other.digest[:12])


def test_no_trainer_is_left_behind_when_the_caller_fails(
    kafka: KafkaConnection, job: TrainingJob, finished: Path
) -> None:
    def fail() -> None:
        raise OSError("the registry is gone")

    events = Events(process=fail)
    with locked(finished / LEASE, timeout_s=60), pytest.raises(OSError, match="registry is gone"):
        run_training(job, kafka, finished, run="failing", on_progress=events)
    assert is_gone(events.first("process")["pid"])
