"""Runs the stack: starts its parts, watches them, and ends them all, whatever happens to its caller.

Run as `python -m include.local.supervisor [OWNER_PID]`, in a session of its own. With an owner its standard input is a
pipe that the owner holds: when that closes, even by SIGKILL, everything ends. It reports its state in its record.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import psutil

from include.errors import MillraceError, one_line
from include.local.airflow import StandaloneAirflow, log_tail, make_login
from include.local.broker import BrokerError, Cluster, running_cluster
from include.local.environment import Layout, stack_settings
from include.local.errors import StackError
from include.local.ports import LOOPBACK, Ports, choose_ports
from include.local.processes import adopt_orphans, descendants, end_all, mark, reap_orphans, survivors
from include.local.stack_file import ProcessMark, StackRecord
from include.storage.locks import LockTaken, locked
from include.storage.state import PROJECT_ROOT, state_dir

if TYPE_CHECKING:
    from types import FrameType

RUNS_ALREADY = 3
_WATCH_S = 1.0
# `is_locked` of another process takes the lock for an instant.
_LOCK_TIMEOUT_S = 1.0
_MIGRATION_TIMEOUT_S = 300.0


class _StopAsked(BaseException):
    """Raised in the main thread by SIGTERM or SIGINT; a BaseException, so that no handler of errors swallows it."""


@dataclass
class _Supervisor:
    layout: Layout
    record: StackRecord

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
        self.note(step="Starting the broker, migrating MLflow's database")
        with ExitStack() as parts:
            started = time.monotonic()
            # By one process, before any task: concurrent migrations break a fresh SQLite file.
            migration = self._start_migration(ports)
            cluster = self._broker(parts)
            self._time("broker", started)
            self._finish_migration(migration)
            self._time("MLflow's database", started)
            self.note(step="Starting Airflow", bootstrap_servers=cluster.bootstrap_servers)
            started = time.monotonic()
            settings = self._settings(ports, cluster.bootstrap_servers)
            broker_pids = frozenset(node.pid for node in cluster.nodes if node.pid)
            airflow = StandaloneAirflow({**os.environ, **settings}, self.layout.airflow_log, broker_pids)
            make_login(self.layout.password_file)
            parts.callback(airflow.stop)
            parts.callback(lambda: self.note(status="stopping"))
            airflow.start(self.note_processes)
            self._time("Airflow", started)
            self.note(status="ready", step="", url=f"http://{LOOPBACK}:{ports.api}", settings=settings)
            self._watch(airflow, cluster, broker_pids)

    def _time(self, step: str, started: float) -> None:
        self.record.seconds[step] = time.monotonic() - started

    def _broker(self, parts: ExitStack) -> Cluster:
        """Start the broker, or use the one that `millrace broker start` runs on the same data."""
        cluster = Cluster.load(self.layout.broker_data)
        if cluster is not None and len(cluster.running()) == len(cluster.nodes):
            self.record.notes.append(
                f"The broker ran already ({cluster.bootstrap_servers}): it is used and left running."
            )
            return cluster
        return parts.enter_context(running_cluster(self.layout.broker_data, on_step=lambda step: self.note(step=step)))

    def _watch(self, airflow: StandaloneAirflow, cluster: Cluster, broker_pids: frozenset[int]) -> NoReturn:
        while True:
            airflow.check()
            for node in cluster.nodes:
                if node.process() is None:
                    raise StackError(f"The broker's node {node.id} has ended:\n{node.log_tail()}")
            reap_orphans({airflow.pid, *broker_pids})
            self.note_processes()
            time.sleep(_WATCH_S)

    def _settings(self, ports: Ports, bootstrap_servers: str) -> dict[str, str]:
        return stack_settings(self.layout, ports=ports, bootstrap_servers=bootstrap_servers, environment=os.environ)

    def _start_migration(self, ports: Ports) -> subprocess.Popen[bytes]:
        with self.layout.migration_log.open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "include", "registry", "migrate"],
                env={**os.environ, **self._settings(ports, "")},
                cwd=PROJECT_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def _finish_migration(self, child: subprocess.Popen[bytes]) -> None:
        try:
            status: object = child.wait(_MIGRATION_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            status = f"no end after {_MIGRATION_TIMEOUT_S:g} s"
        if status != 0:
            raise StackError(
                f"MLflow's database could not be migrated ({status}):\n{log_tail(self.layout.migration_log)}"
            )


def supervise(layout: Layout, owner: ProcessMark | None) -> int:
    """Run the stack until a stop or a failure; return the exit status."""
    layout.directory.mkdir(parents=True, exist_ok=True)
    # Airflow's keys, its login and its database.
    layout.airflow_home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(locked(layout.lock_file, timeout_s=_LOCK_TIMEOUT_S))
        except LockTaken:
            return RUNS_ALREADY
        before = StackRecord.load(layout.record_file)
        itself = mark(psutil.Process())
        assert itself is not None, "this process runs"  # noqa: S101 - for the type checker
        supervisor = _Supervisor(layout, StackRecord(status="starting", supervisor=itself, owner=owner))
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
    except (MillraceError, BrokerError) as error:
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
        if len(sys.argv) > 1:
            owner = mark(psutil.Process(int(sys.argv[1])))
            _stop_with_owner()
        return supervise(Layout(state_dir()), owner)
    except psutil.NoSuchProcess:
        return 0  # the owner has gone
    except _StopAsked:
        return 0


if __name__ == "__main__":
    sys.exit(main())
