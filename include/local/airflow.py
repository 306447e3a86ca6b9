"""Airflow's processes: started, their readiness, and their stop with all descendants."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil

from include.local.errors import StackError
from include.local.parts import Part, how_ended
from include.local.ports import API_PORT, LOOPBACK
from include.local.processes import descendants, end_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

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

_SCHEDULER = "scheduler"
# These are also the names of Airflow's commands.
COMPONENTS = (_SCHEDULER, "dag-processor", "api-server", "triggerer")


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


def airflow_command(*arguments: str) -> list[str]:
    """The command line of `airflow` with these arguments."""
    return [str(Path(sys.executable).with_name("airflow")), *arguments]


@dataclass
class Component:
    """A long-lived process, with a session for itself and its descendants."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    log: Path
    sessions: set[int] = field(default_factory=set)
    _child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as output:
            self._child = subprocess.Popen(
                self.command,
                env={**self.environment, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.sessions.add(self._child.pid)

    def exit_status(self) -> int | None:
        return None if self._child is None else self._child.poll()

    def terminate(self) -> None:
        if self._child is not None:
            self._child.terminate()

    def part(self, name: str) -> Part:
        """Itself, to be kept running."""
        return Part(name, self.start, self.exit_status, partial(log_tail, self.log))

    @property
    def pid(self) -> int:
        return 0 if self._child is None else self._child.pid

    @property
    def ended_sessions(self) -> set[int]:
        """Its earlier sessions, and the present one if it has ended."""
        return self.sessions - ({self.pid} if self.exit_status() is None else set())


class Airflow:
    """A scheduler, a DAG processor, an API server and a triggerer.

    Args:
        environment: of all its processes; the API's port is read from it.
        log_file: the file for the output of each part; replaced if it exists.
        others: returns the pids of this process's descendants that are not Airflow's.
    """

    def __init__(
        self, environment: Mapping[str, str], log_file: Callable[[str], Path], others: Callable[[], set[int]]
    ) -> None:
        self._components = [Component(name, airflow_command(name), environment, log_file(name)) for name in COMPONENTS]
        self._port = int(environment[API_PORT])
        self._others = others

    def start(self, on_poll: Callable[[], None]) -> None:
        """Start it and wait until each of its parts reports that it is healthy.

        The API's answer counts only if a process of ours holds the port: an old server may still run, with the same
        login.

        Args:
            on_poll: called before each poll, once there are processes.

        Raises:
            StackError: a part has ended, or they are not ready in time; the text has the end of the log.
        """
        started = datetime.now(UTC)
        for component in self._components:
            component.log.unlink(missing_ok=True)
            component.start()
        deadline = time.monotonic() + START_TIMEOUT_S
        with httpx.Client(base_url=f"http://{LOOPBACK}:{self._port}", timeout=5.0, trust_env=False) as client:
            on_poll()
            while waits_for := self._not_ready(client, started):
                on_poll()
                for component in self._components:
                    if (status := component.exit_status()) is not None:
                        raise StackError(f"Airflow's {component.name} {how_ended(status)}:\n{log_tail(component.log)}")
                if time.monotonic() > deadline:
                    raise StackError(f"Airflow is not ready after {START_TIMEOUT_S:g} s: {waits_for}.")
                time.sleep(_POLL_S)

    def parts(self) -> Iterator[Part]:
        """Its running processes, to keep them running."""
        for component in self._components:
            yield component.part(f"Airflow's {component.name}")

    @property
    def pids(self) -> set[int]:
        """The process ids of its parts."""
        return {component.pid for component in self._components}

    @property
    def ended_sessions(self) -> set[int]:
        """The sessions of parts that have ended."""
        return set().union(*(component.ended_sessions for component in self._components))

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
        others = self._others()
        return [process for process in descendants() if process.pid not in others]

    def stop(self) -> None:
        """Stop it with all descendants, children of tasks included.

        Its scheduler waits for running tasks, which is why what is left after `STOP_TIMEOUT_S` is killed: such tasks
        run again with the next start.
        """
        for component in self._components:
            component.terminate()
        scheduler = self._components[0]
        _wait_while(lambda: scheduler.exit_status() is None, STOP_TIMEOUT_S)
        _wait_while(lambda: bool(self._processes()), _OTHERS_STOP_TIMEOUT_S)
        end_all(self._processes)


def _wait_while(condition: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while condition() and time.monotonic() < deadline:
        time.sleep(_POLL_S / 4)


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


def log_tail(path: Path) -> str:
    """Return the last lines of a log, with the file's name."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        lines = []
    shown = [line if len(line) <= _LINE_LENGTH else f"{line[:_LINE_LENGTH]}…" for line in lines[-_TAIL_LINES:]]
    return "\n".join([*shown, f"(all of it is in {path})"])
