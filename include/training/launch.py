"""The parent of a training process: starts it, relays its progress, stops it, and never leaves it behind."""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from include.artifact.result import TrainingResult, read_result
from include.errors import MillraceError, PermanentError, Stopped
from include.kafka.connection import KafkaConnection
from include.storage.state import PROJECT_ROOT
from include.training.job import LEASE_TIMEOUT_S, TrainingJob

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 30.0
POLL_S = 0.1
# Exit status of a worker that was stopped and has written its checkpoint; see include.training.worker.
STOPPED = 3
# The trainer's environment where the user has set nothing else; see `_environment`.
DEFAULTS = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
}


class TrainerDied(MillraceError):
    """The trainer ended without giving a reason: it was killed, or ran out of memory."""


def run_training(
    job: TrainingJob,
    connection: KafkaConnection,
    directory: Path,
    *,
    run: str,
    weights: Path | None = None,
    cache_bytes: int = 0,
    stopped: Callable[[], bool] = lambda: False,
    on_progress: Callable[[dict[str, Any]], None] = lambda _: None,
    lease_timeout_s: float = LEASE_TIMEOUT_S,
) -> TrainingResult:
    """Train the job, resume it, or return the result that is already in `directory`.

    The trainer is a new interpreter, because CUDA does not survive a fork and a crash in native code must not take the
    task with it. It dies with this process. The Kafka settings go to it through a pipe: never as an argument, in the
    environment or on disk.

    Args:
        directory: the run's, from `run_directory`.
        run: the run's id, kept with the result.
        weights: the file that the job starts from, if it does.
        cache_bytes: see `include.training.loop.train`.
        stopped: polled every tenth of a second; True makes the trainer write a checkpoint and end.
        on_progress: gets the trainer's small dicts, see `include.training.loop.train`, and `process` with its pid.
        lease_timeout_s: seconds to wait for another process that works in this directory.

    Raises:
        Stopped: `stopped` returned True, or another process ended the trainer with SIGTERM.
        PermanentError, MillraceError: the trainer's own error, with its text.
        TrainerDied: it was killed; the next attempt resumes from its last checkpoint.
    """
    request = _request(job, connection, directory, run, weights, cache_bytes, lease_timeout_s)
    refusal: Exception | None = None
    with _trainer(request) as trainer:
        deadline: float | None = None
        for answer in trainer.answers():
            if answer is None:
                if deadline is None and stopped():
                    log.info("Stopping the trainer (process %d).", trainer.process.pid)
                    trainer.process.terminate()
                    deadline = time.monotonic() + STOP_TIMEOUT_S
                elif deadline is not None and time.monotonic() > deadline:
                    log.warning("The trainer did not stop within %g s: it is killed.", STOP_TIMEOUT_S)
                    trainer.process.kill()
            elif answer["event"] == "stopped":
                refusal = Stopped(answer["text"])
            elif answer["event"] == "failed":
                refusal = (PermanentError if answer["permanent"] else MillraceError)(answer["text"])
            else:
                on_progress(answer)
        status = _exit_status(trainer.process)
    if refusal is not None:
        raise refusal
    if deadline is not None and status != 0:
        raise Stopped("Training was stopped: the next attempt resumes from the last checkpoint, if there is one.")
    if status != 0:
        how = f"signal {-status} ({signal.Signals(-status).name})" if status < 0 else f"exit status {status}"
        raise TrainerDied(
            f"The trainer ended with {how} and without a reason: check the log and the machine's memory; the next "
            "attempt resumes from the last checkpoint."
        )
    result = read_result(directory, job.digest)
    if result is None:
        raise TrainerDied(f"The trainer ended without an error but left no result in {directory}: check the log.")
    return result


def _exit_status(process: subprocess.Popen[str]) -> int:
    """The exit status of a trainer that has closed its output; 0 for one that stays: its result says how it ended."""
    try:
        return process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        log.warning(
            "The trainer (process %d) has closed its output and did not end within %g s: it is killed.",
            process.pid,
            STOP_TIMEOUT_S,
        )
        process.kill()
        return 0


def _request(
    job: TrainingJob,
    connection: KafkaConnection,
    directory: Path,
    run: str,
    weights: Path | None,
    cache_bytes: int,
    lease_timeout_s: float,
) -> str:
    for name, value in connection.settings.items():
        if not isinstance(value, str | int | float | bool):
            raise PermanentError(
                f"The Kafka setting {name} is a {type(value).__name__}, and the trainer, a process of its own, takes "
                "only text, numbers and booleans: remove it from the connection."
            )
    return json.dumps(
        {
            "parent": os.getpid(),
            "directory": str(directory),
            "job": job.model_dump(mode="json"),
            "connection": asdict(connection),
            "run": run,
            "weights": weights and str(weights),
            "cache_bytes": cache_bytes,
            "lease_timeout_s": lease_timeout_s,
        }
    )


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    """This process's environment, without Airflow's and MLflow's variables, whose secrets a trainer does not need.

    OpenMP's threads sleep while they wait for each other, unless the user sets another policy: spinning threads take
    the cores that others need, and beside a broker and a scheduler on two cores a step then takes ten times as long.
    The C library keeps the memory of a batch for the next one: by default it returns large blocks to the system, which
    then costs a page fault every 4 KiB.
    """
    kept = {name: value for name, value in own.items() if not name.startswith(("AIRFLOW", "_AIRFLOW", "MLFLOW"))}
    path = os.pathsep.join(filter(None, (str(PROJECT_ROOT), own.get("PYTHONPATH"))))
    return {**DEFAULTS, **kept, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


class _Trainer:
    """The process and the threads that read what it writes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._threads = [
            threading.Thread(target=self._read_answers, args=(process.stdout,), daemon=True),
            threading.Thread(target=_relay_log, args=(process.stderr,), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def answers(self) -> Iterator[dict[str, Any] | None]:
        """Each answer when it arrives, and None at least every tenth of a second, until the trainer's output ends."""
        ended = False
        while not ended:
            try:
                answer = self._answers.get(timeout=POLL_S)
            except queue.Empty:
                yield None
            else:
                ended = answer is None
                if answer is not None:
                    yield answer
                    yield None

    def join(self) -> None:
        for thread in self._threads:
            thread.join(STOP_TIMEOUT_S)

    def _read_answers(self, lines: IO[str]) -> None:
        try:
            for line in lines:
                try:
                    self._answers.put(json.loads(line))
                except ValueError:
                    log.warning("The trainer was cut off in the middle of an answer: %s", line[:200])
        finally:
            self._answers.put(None)


@contextmanager
def _trainer(request: str) -> Iterator[_Trainer]:
    process = subprocess.Popen(
        [sys.executable, "-m", "include.training.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=PROJECT_ROOT,
        env=_environment(os.environ),
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    trainer = _Trainer(process)
    try:
        if process.stdin is None:
            raise RuntimeError("A process started with a pipe has one.")
        # A trainer that ended before it read its request is recognised by its exit status.
        with suppress(BrokenPipeError):
            process.stdin.write(request + "\n")
            process.stdin.flush()
        # Left open: the trainer sees the end of the pipe when this process dies.
        yield trainer
    finally:
        process.kill()
        process.wait()
        trainer.join()
        for pipe in (process.stdin, process.stdout, process.stderr):
            # Closing flushes a request that a trainer which died at once never read.
            with suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.close()


def _relay_log(lines: IO[str]) -> None:
    levels = logging.getLevelNamesMapping()
    for line in lines:
        name, _, rest = line.rstrip("\n").partition(" ")
        level = levels.get(name)
        if level is None:
            log.info("trainer: %s", line.rstrip("\n"))
        else:
            log.log(level, "trainer: %s", rest)
