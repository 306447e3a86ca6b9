"""Steps that run in their own processes and can be killed at a named point or at any time."""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from multiprocessing.reduction import send_handle
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from include.storage.state import PROJECT_ROOT
from tests.faults.points import WAKE, Point
from tests.faults.steps import Job, export_job, ingest_job, predict_job, replay_job, train_job

__all__ = [
    "Attempt",
    "Job",
    "Point",
    "Target",
    "Workers",
    "export_job",
    "ingest_job",
    "kill_at",
    "predict_job",
    "replay_job",
    "train_job",
]

# What a kill hits: the task's process alone, its whole process group, or the trainer that the task started.
Target = Literal["task", "group", "trainer"]

# Seconds on a loaded machine.
TIMEOUT_S = 300.0
START_TIMEOUT_S = 300.0


class Attempt:
    """One attempt at a step: a process that reports its progress as events.

    Attributes:
        pid: of the process, which leads its own process group.
        events: its events so far, each a dict whose `event` is the name; the last one is `done`, `failed`, or the
            last one before a kill.
        killed_at: the monotonic time of the last `kill`.
    """

    def __init__(self, pid: int, events: Connection, workers: Workers) -> None:
        self.pid = pid
        self.events: list[dict[str, Any]] = []
        self.killed_at = 0.0
        self._connection = events
        self._workers = workers
        self._over = False

    def event(self, name: str) -> dict[str, Any] | None:
        """The first event of this name, None if there is none yet."""
        return next((event for event in self.events if event["event"] == name), None)

    @property
    def failure(self) -> dict[str, Any] | None:
        """The error that ended it, `kind`, `permanent` and `text`; None for a kill or a success."""
        return self.event("failed")

    def failed_with(self, kind: str) -> bool:
        """Whether an error of this class ended it."""
        return self.failure is not None and self.failure["kind"] == kind

    @property
    def trainer(self) -> int:
        """The process id of the trainer, from its `process` event."""
        process = self.event("process")
        assert process is not None, f"attempt {self.pid} has started no trainer: {self.events}"
        return int(process["pid"])

    @property
    def succeeded(self) -> bool:
        return self.event("done") is not None

    def reaches(self, name: str, *, timeout_s: float = TIMEOUT_S) -> bool:
        """Wait for an event; False if the attempt ends without it."""
        deadline = time.monotonic() + timeout_s
        while self.event(name) is None and not self._over:
            assert self._listen(deadline - time.monotonic()), f"no {name!r} of {self.pid} within {timeout_s:g} s"
        return self.event(name) is not None

    def goes_on_for(self, seconds: float) -> bool:
        """Wait so long; False if the attempt ends earlier."""
        deadline = time.monotonic() + seconds
        while not self._over and self._listen(deadline - time.monotonic()):
            pass
        return not self._over

    def kill(self, target: Target = "task") -> None:
        """Send SIGKILL, unless the attempt has ended; for a trainer, wait until it has started."""
        if target == "trainer":
            self.reaches("process")
        self.killed_at = time.monotonic()
        # A trainer may have ended by itself while its task is still there.
        with suppress(ProcessLookupError):
            if not self._over and target == "group":
                os.killpg(self.pid, signal.SIGKILL)
            elif not self._over:
                os.kill(self.trainer if target == "trainer" else self.pid, signal.SIGKILL)

    def wake(self) -> None:
        """Continue an attempt that has halted at its point."""
        os.kill(self.pid, WAKE)

    def left_nothing(self) -> bool:
        """Whether no process of its group is left."""
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def end(self, *, timeout_s: float = TIMEOUT_S) -> Attempt:
        """Wait until the process is gone; returns the attempt with all of its events."""
        deadline = time.monotonic() + timeout_s
        while not self._over:
            assert self._listen(deadline - time.monotonic()), f"{self.pid} did not end within {timeout_s:g} s"
        return self

    def _listen(self, seconds: float) -> bool:
        """Receive the next event or the end; False if neither comes in time."""
        if not self._connection.poll(max(0.0, seconds)):
            return False
        try:
            self.events.append(json.loads(self._connection.recv_bytes()))
        except (EOFError, OSError):  # an OSError where the kill has cut a message
            self._over = True
            self._connection.close()
            self._workers.reap(self.pid)
        return True


class Workers:
    """Starts attempts as forks of `tests.faults.forkserver`, which saves the seconds that a new interpreter takes.

    All attempts die when the block ends, or with this process.

    Args:
        log: the file for the attempts' logs.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._lock = threading.Lock()

    def __enter__(self) -> Workers:
        self._control, theirs = Pipe()
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, (str(PROJECT_ROOT), os.environ.get("PYTHONPATH")))),
            # NumPy starts threads when it is imported, and a process that forks must have a single one.
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        with theirs, self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.forkserver", str(theirs.fileno())],
                cwd=PROJECT_ROOT,
                env=environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C reaches every process of a terminal's group; only this process handles it.
                start_new_session=True,
            )
        try:
            assert self._control.poll(START_TIMEOUT_S), f"the fork server was not ready within {START_TIMEOUT_S:g} s"
            self._control.recv_bytes()
        except EOFError as error:
            self._close()
            raise RuntimeError(f"The fork server ended at once: {self._log.read_text(errors='replace')}") from error
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        self._control.close()
        try:
            self._process.wait(TIMEOUT_S)
        finally:
            self._process.kill()

    def start(self, job: Job, *, halt: tuple[Point, int] | None = None) -> Attempt:
        """Start an attempt.

        Args:
            halt: the point at which it reports `halted` and waits, see `tests.faults.points.halt_at`.
        """
        if halt is not None:
            job = {**job, "halt": {"point": halt[0], "number": halt[1]}}
        mine, theirs = Pipe(duplex=False)
        with theirs, self._lock:
            self._control.send_bytes(json.dumps(job).encode())
            send_handle(self._control, theirs.fileno(), self._process.pid)
            pid = json.loads(self._control.recv_bytes())
        return Attempt(pid, mine, self)

    def reap(self, pid: int) -> None:
        """Release the process id of an attempt that has ended; until then no other process gets it."""
        with self._lock:
            self._control.send_bytes(json.dumps({"reap": pid}).encode())


def kill_at(point: Point, transaction: int, job: Job) -> None:
    """Run `job` in another process and kill it at a point of its n-th transaction, counted from 1."""
    attempt = session_workers().start(job, halt=(point, transaction))
    halted = attempt.reaches("halted")
    assert halted, f"{job['step']} did not halt {point}: {attempt.events}"
    attempt.kill()
    attempt.end()


@functools.cache
def session_workers() -> Workers:
    """The workers of the test session: the first test that needs them starts them."""
    folder = tempfile.TemporaryDirectory(prefix="millrace-killable-")
    workers = Workers(Path(folder.name) / "log").__enter__()
    atexit.register(folder.cleanup)
    atexit.register(workers.__exit__, None, None, None)
    return workers
