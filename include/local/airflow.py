"""`airflow standalone` as a child process: started, its readiness, its health, and its stop with all descendants."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil

from include.local.errors import StackError
from include.local.ports import API_PORT, LOOPBACK
from include.local.processes import descendants, end_all, has_ended, reap_orphans

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

USERNAME = "admin"
START_TIMEOUT_S = 240.0
# For the scheduler to record its end, so that the next one takes over its tasks at once. The other parts have nothing
# to record, and the API server and the triggerer end slowly.
STOP_TIMEOUT_S = 10.0
_OTHERS_STOP_TIMEOUT_S = 1.0
_FIRST_REQUEST_TIMEOUT_S = 60.0
_POLL_S = 0.2
_TAIL_LINES = 15
_TAIL_BYTES = 65_536
_LINE_LENGTH = 300

# As they are called in `airflow standalone`, and in its output before the bar.
_SCHEDULER = "scheduler"
_COMPONENTS = (_SCHEDULER, "dag-processor", "api-server", "triggerer")


def make_login(file: Path) -> None:
    """Write a random password for the administrator unless there is one: Airflow would print its own into the log."""
    with suppress(FileExistsError):
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as output:  # noqa: PTH123 - a descriptor, made with its mode
            json.dump({USERNAME: secrets.token_urlsafe(12)}, output)


def read_password(file: Path) -> str:
    """Return the administrator's password.

    Raises:
        StackError: the file is missing or does not have it.
    """
    try:
        return str(json.loads(file.read_bytes())[USERNAME])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StackError(
            f"{file} has no password of {USERNAME} ({type(error).__name__}): stop the stack, delete the file, and "
            "start again, which makes a new one."
        ) from error


@dataclass
class StandaloneAirflow:
    """A running `airflow standalone`.

    Args:
        environment: of all its processes; the API's port is read from it.
        log: the file for their output; replaced if it exists.
        others: pids of this process's descendants that are not Airflow's.
    """

    environment: Mapping[str, str]
    log: Path
    others: frozenset[int]
    _child: subprocess.Popen[bytes] = field(init=False, repr=False)
    _components: dict[str, psutil.Process] = field(init=False, default_factory=dict, repr=False)

    def start(self, on_poll: Callable[[], None]) -> None:
        """Start it and wait until each of its parts reports that it is healthy.

        Its banner is printed after a fixed time, so it proves nothing. The API's answer counts only if a process of
        ours holds the port: an old server may still run, with the same login.

        Args:
            on_poll: called before each poll, once there is a process.

        Raises:
            StackError: a part has ended, or they are not ready in time; the text has the end of the log.
        """
        started = datetime.now(UTC)
        with self.log.open("wb") as output:
            self._child = subprocess.Popen(
                [str(Path(sys.executable).with_name("airflow")), "standalone"],
                env={**self.environment, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        with httpx.Client(base_url=f"http://{LOOPBACK}:{self._port}", timeout=5.0, trust_env=False) as client:
            on_poll()
            while waits_for := self._not_ready(client, started):
                on_poll()
                self.check()
                if time.monotonic() > deadline:
                    raise StackError(
                        f"Airflow is not ready after {START_TIMEOUT_S:g} s ({waits_for}):\n{log_tail(self.log)}"
                    )
                time.sleep(_POLL_S)

    @property
    def pid(self) -> int:
        """The process id of `airflow standalone` itself."""
        return self._child.pid

    @property
    def _port(self) -> int:
        return int(self.environment[API_PORT])

    def check(self) -> None:
        """Raise if a part has ended: `airflow standalone` itself keeps running without it.

        Raises:
            StackError: naming the part, with the end of its log.
        """
        if (status := self._child.poll()) is not None:
            raise StackError(f"`airflow standalone` ended with status {status}:\n{log_tail(self.log)}")
        self._find_components()
        for name, process in self._components.items():
            if has_ended(process):
                raise StackError(f"Airflow's {name} (pid {process.pid}) has ended:\n{log_tail(self.log, only=name)}")

    def _find_components(self) -> None:
        if len(self._components) == len(_COMPONENTS):
            return
        with suppress(psutil.Error):
            for child in psutil.Process(self._child.pid).children():
                name = child.cmdline()[-1:]  # until they rename themselves, after importing Airflow
                if name and name[0] in _COMPONENTS:
                    self._components.setdefault(name[0], child)

    def _not_ready(self, client: httpx.Client, started: datetime) -> str | None:
        """What is not ready yet, None if everything is."""
        try:
            # Its first answer about tasks takes seconds, which would delay the first task.
            client.get("/execution/health", timeout=_FIRST_REQUEST_TIMEOUT_S)
            answer = client.get("/api/v2/monitor/health")
            health = answer.json() if answer.is_success else {}
        except (httpx.TransportError, ValueError):
            return "its API does not answer"
        if not any(_listens(process, self._port) for process in self._processes()):
            return f"port {self._port} is held by another process"
        for part in ("metadatabase", "scheduler", "dag_processor", "triggerer"):
            if not _is_healthy(part, health.get(part) or {}, started):
                return f"its {part} is not healthy"
        return None

    def _processes(self) -> list[psutil.Process]:
        return [process for process in descendants() if process.pid not in self.others]

    def stop(self) -> None:
        """Stop it with all descendants, children of tasks included.

        It ends its parts on SIGINT only (on SIGTERM it leaves them alive). Its scheduler waits for running tasks, which
        is why what is left after `STOP_TIMEOUT_S` is killed: such tasks run again with the next start.
        """
        with suppress(ProcessLookupError):
            os.kill(self._child.pid, signal.SIGINT)
        self._wait_while(self._scheduler_lives, STOP_TIMEOUT_S)
        self._wait_while(lambda: bool(self._processes()), _OTHERS_STOP_TIMEOUT_S)
        end_all(self._processes)
        self._reap()

    def _scheduler_lives(self) -> bool:
        scheduler = self._components.get(_SCHEDULER)
        return not has_ended(scheduler) if scheduler else self._child.poll() is None

    def _wait_while(self, condition: Callable[[], bool], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while condition() and time.monotonic() < deadline:
            self._reap()
            time.sleep(_POLL_S / 4)

    def _reap(self) -> None:
        self._child.poll()
        reap_orphans({self._child.pid, *self.others})


def _is_healthy(part: str, report: dict[str, Any], started: datetime) -> bool:
    if report.get("status") != "healthy":
        return False
    # The database still shows the parts of the last start as healthy for half a minute.
    heartbeat = report.get(f"latest_{part}_heartbeat")
    return heartbeat is None or datetime.fromisoformat(heartbeat) >= started


def _listens(process: psutil.Process, port: int) -> bool:
    with suppress(psutil.Error):
        return any(
            connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
            for connection in process.net_connections("tcp")
        )
    return False


def log_tail(path: Path, *, only: str | None = None) -> str:
    """Return the last lines of a log, only those of one part if it wrote any, with the file's name."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        lines = []
    if only:
        lines = [line for line in lines if line.startswith(only)] or lines
    shown = [line if len(line) <= _LINE_LENGTH else f"{line[:_LINE_LENGTH]}…" for line in lines[-_TAIL_LINES:]]
    return "\n".join([*shown, f"(all of it is in {path})"])
