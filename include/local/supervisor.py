"""Runs the stack: starts its parts, starts those again that end, and ends them all, whatever happens to its caller.

Run as `python -m include.local.supervisor [--secure] [OWNER_PID]`, in a session of its own. With an owner its standard
input is a pipe that the owner holds: when that closes, even by SIGKILL, everything ends. It reports its state in its
record.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NoReturn, get_args

import psutil

from include.definition.files import load_pipelines
from include.definition.tables import WorkStep
from include.errors import MillraceError, one_line
from include.local.airflow import Airflow, Component, airflow_command, log_tail, make_login
from include.local.broker import Cluster, running_cluster
from include.local.broker.security import ALL_STEPS, connection_name
from include.local.environment import CONNECTION, Layout, replaced_connections, stack_settings
from include.local.errors import StackError
from include.local.mlflow import NAME as MLFLOW
from include.local.mlflow import mlflow_interface
from include.local.parts import Part
from include.local.ports import API_PORT, LOOPBACK, choose_ports
from include.local.processes import adopt_orphans, clear_orphans, descendants, end_all, mark, survivors
from include.local.rights import grant_steps
from include.local.stack_file import ProcessMark, StackRecord
from include.storage.locks import LockTaken, locked
from include.storage.state import PROJECT_ROOT, is_open_to_others, make_folder, state_dir

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import FrameType

RUNS_ALREADY = 3
_WATCH_S = 1.0
# `is_locked` of another process takes the lock for an instant.
_LOCK_TIMEOUT_S = 1.0
_MIGRATION_TIMEOUT_S = 300.0
# The command that migrates a database, by the program that owns it.
_MIGRATIONS = {
    "MLflow": [sys.executable, "-m", "include", "registry", "migrate"],
    "Airflow": airflow_command("db", "migrate"),
}


class _StopAsked(BaseException):
    """Raised in the main thread by SIGTERM or SIGINT; a BaseException, so that no handler of errors swallows it."""


@dataclass
class _Supervisor:
    layout: Layout
    record: StackRecord
    secure: bool

    def note(self, **changes: object) -> None:
        """Change and write the record."""
        for name, value in changes.items():
            setattr(self.record, name, value)
        self.record.processes = [marked for process in descendants() if (marked := mark(process))]
        self.record.save(self.layout.record_file)

    def note_processes(self) -> None:
        """Record the current processes if they have changed: the next start ends those that are left."""
        if {process.pid for process in descendants()} != {marked.pid for marked in self.record.processes}:
            self.note()

    def run(self) -> NoReturn:
        """Start everything and watch it; only an exception ends it."""
        ports, notes = choose_ports(os.environ)
        self.record.notes += notes
        if is_open_to_others(self.layout.state):
            self.record.notes.append(
                f"Other users of this machine can enter {self.layout.state}, which has the records of all topics: "
                f"`chmod o-rwx {shlex.quote(str(self.layout.state))}` unless you share it on purpose."
            )
        self.note(step="Starting the broker, migrating the databases")
        with ExitStack() as parts:
            started = time.monotonic()
            # One process migrates each, before any task: concurrent migrations break a fresh SQLite file.
            migrations = {name: self._start_migration(name, command, ports) for name, command in _MIGRATIONS.items()}
            cluster, kept = self._broker(parts)
            self._time("broker", started)
            for name, migration in migrations.items():
                self._finish_migration(name, migration)
            self._time("databases", started)
            self.note(step="Starting Airflow", bootstrap_servers=cluster.bootstrap_servers)
            started = time.monotonic()
            connections = _connections(cluster)
            self.record.notes += replaced_connections(connections, os.environ)
            settings = self._settings(ports, connections)
            make_login(self.layout.password_file)
            airflow = Airflow({**os.environ, **settings}, self.layout.log_file, lambda: _pids(cluster))
            parts.callback(airflow.stop)
            parts.callback(lambda: self.note(status="stopping"))
            airflow.start(self.note_processes)
            self._time("Airflow", started)
            self.note(status="ready", step="", url=f"http://{LOOPBACK}:{ports[API_PORT]}", settings=settings)
            interface = mlflow_interface({**os.environ, **settings}, self.layout.log_file(MLFLOW))
            if interface is not None:
                # After all else, since it takes seconds of a processor and nothing waits for it.
                interface.log.unlink(missing_ok=True)
                interface.start()
                kept.append(interface.part("MLflow's interface"))
            self._keep(airflow, interface, cluster, [*kept, *airflow.parts()])

    def _time(self, step: str, started: float) -> None:
        self.record.seconds[step] = time.monotonic() - started

    def _broker(self, parts: ExitStack) -> tuple[Cluster, list[Part]]:
        """Start the broker, or use the one that `millrace broker start` runs on the same data.

        Returns:
            The broker, and those of its nodes that are started again when they end.
        """
        cluster = Cluster.load(self.layout.broker_data)
        if cluster is not None and len(cluster.running()) == len(cluster.nodes):
            self.record.notes.append(
                f"The broker ran already ({cluster.bootstrap_servers}): it is used, left running, and not started "
                "again if it ends."
            )
            return cluster, []
        cluster = parts.enter_context(
            running_cluster(
                self.layout.broker_data, secure=self.secure or None, on_step=lambda step: self.note(step=step)
            )
        )
        if cluster.security is not None:
            grant_steps(cluster, load_pipelines()[0])
        return cluster, [
            Part(f"The broker's node {node.id}", partial(node.start, wait=False), node.exit_status, node.log_tail)
            for node in cluster.nodes
        ]

    def _keep(self, airflow: Airflow, interface: Component | None, cluster: Cluster, parts: list[Part]) -> NoReturn:
        while True:
            for part in parts:
                if ending := part.keep():
                    self.record.endings[part.name] = ending
                    self.note()
            pids, ended = airflow.pids | _pids(cluster), airflow.ended_sessions
            if interface is not None:
                pids, ended = pids | {interface.pid}, ended | interface.ended_sessions
            clear_orphans(pids, ended)
            self.note_processes()
            os.utime(self.layout.lock_file)  # when this process was last alive
            time.sleep(_WATCH_S)

    def _settings(self, ports: Mapping[str, str], kafka: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
        return stack_settings(self.layout, ports=ports, kafka=kafka, environment=os.environ)

    def _start_migration(self, name: str, command: list[str], ports: Mapping[str, str]) -> subprocess.Popen[bytes]:
        with self._migration_log(name).open("wb") as output:
            return subprocess.Popen(
                command,
                env={**os.environ, **self._settings(ports, {})},
                cwd=PROJECT_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def _finish_migration(self, name: str, child: subprocess.Popen[bytes]) -> None:
        try:
            status: object = child.wait(_MIGRATION_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            status = f"no end after {_MIGRATION_TIMEOUT_S:g} s"
        if status != 0:
            raise StackError(
                f"{name}'s database could not be migrated ({status}):\n{log_tail(self._migration_log(name))}"
            )

    def _migration_log(self, name: str) -> Path:
        return self.layout.log_file(f"{name.lower()}-migration")


def _pids(cluster: Cluster) -> set[int]:
    return {node.pid for node in cluster.nodes if node.pid}


def _connections(cluster: Cluster) -> dict[str, dict[str, str]]:
    """The settings of the stack's connections to Kafka; in a secured cluster each step has one of its own, too."""
    if cluster.security is None:
        return {CONNECTION: cluster.client_settings()}
    steps = {connection_name(step): cluster.client_settings(step) for step in get_args(WorkStep)}
    return {CONNECTION: cluster.client_settings(ALL_STEPS), **steps}


def supervise(layout: Layout, owner: ProcessMark | None, *, secure: bool) -> int:
    """Run the stack until a stop or a failure; return the exit status."""
    make_folder(layout.state, private=True)
    make_folder(layout.directory)
    # Airflow's keys, its login and its database.
    make_folder(layout.airflow_home, private=True)
    with ExitStack() as held:
        try:
            held.enter_context(locked(layout.lock_file, timeout_s=_LOCK_TIMEOUT_S))
        except LockTaken:
            return RUNS_ALREADY
        before = StackRecord.load(layout.record_file)
        itself = mark(psutil.Process())
        assert itself is not None, "this process runs"  # noqa: S101 - for the type checker
        supervisor = _Supervisor(layout, StackRecord(status="starting", supervisor=itself, owner=owner), secure)
        if before and (ended := end_all(lambda: survivors(before.processes))):
            supervisor.record.notes.append(f"Ended {ended} processes that the last stack left behind.")
        supervisor.note()
        status = _run_until_the_end(supervisor)
        end_all(descendants)
        supervisor.note(status=status)
    return 1 if status == "failed" else 0


def _run_until_the_end(supervisor: _Supervisor) -> str:
    # A signal during the shutdown must not interrupt it.
    try:
        supervisor.run()
    except _StopAsked:
        return "stopped"
    except MillraceError as error:
        supervisor.record.error = str(error)
    except Exception as error:  # noqa: BLE001 - whoever waits for the stack reads the record, not this process's output
        supervisor.record.error = f"{one_line(error)} (see {supervisor.layout.supervisor_log})"
        sys.excepthook(type(error), error, error.__traceback__)
    return "failed"


def _stop_on_signals() -> None:
    def stop(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - the signature of a handler
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: None)
        raise _StopAsked

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, stop)


def _stop_with_owner() -> None:
    def wait() -> None:
        sys.stdin.buffer.read()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="owner", daemon=True).start()


def main() -> int:
    """Read the command line and supervise."""
    adopt_orphans()
    _stop_on_signals()
    owner: ProcessMark | None = None
    try:
        arguments = sys.argv[1:]
        if secure := arguments[:1] == ["--secure"]:
            del arguments[0]
        if arguments:
            owner = mark(psutil.Process(int(arguments[0])))
            _stop_with_owner()
        return supervise(Layout(state_dir()), owner, secure=secure)
    except (psutil.NoSuchProcess, _StopAsked):  # the owner has gone, or a stop came before the stack was begun
        return 0


if __name__ == "__main__":
    sys.exit(main())
