"""The interface of the local stack: start it, find it, query it, and stop it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psutil

from include.local.airflow import USERNAME, log_tail, read_password
from include.local.api import AirflowApi
from include.local.broker import Cluster
from include.local.environment import CONNECTION, Layout, stack_settings
from include.local.errors import StackError
from include.local.ports import choose_ports
from include.local.processes import end_all, find, survivors
from include.local.stack_file import StackRecord, local_time
from include.local.supervisor import RUNS_ALREADY
from include.storage.locks import is_locked
from include.storage.removal import remove_folder
from include.storage.state import PROJECT_ROOT, make_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

# On a slow machine Airflow alone takes up to 240 s, and the first start also fetches the broker's jars.
START_TIMEOUT_S = 420.0
STOP_TIMEOUT_S = 60.0
_POLL_S = 0.1

log = logging.getLogger(__name__)


@dataclass
class Stack:
    """A running stack; its record has the addresses, and the variables that its starter did not have."""

    layout: Layout
    record: StackRecord
    password: str = field(repr=False)
    _child: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.api = AirflowApi(self.record.url, USERNAME, self.password, check=self.check)

    @property
    def kafka_settings(self) -> dict[str, str]:
        """librdkafka's settings for a client of the broker; in a secured cluster the administrator's."""
        cluster = Cluster.load(self.layout.broker_data)
        return {"bootstrap.servers": self.record.bootstrap_servers} if cluster is None else cluster.client_settings()

    def stop(self) -> None:
        """Stop it, all of its processes included; its state stays."""
        self.api.close()
        stop(self.layout, self._child)

    def check(self) -> None:
        """Raise `StackError` with the reason if the stack no longer runs."""
        if self._child is not None:
            self._child.poll()
        record = _load(self.layout)
        if record.supervisor != self.record.supervisor or record.status in ("stopping", "stopped"):
            raise StackError("The stack was stopped: start it again with `make demo` or `make up`.")
        if record.status == "failed":
            raise StackError(record.error)
        if find(record.supervisor) is None:
            raise StackError(
                f"The stack's supervisor (pid {record.supervisor.pid}) was killed: start the stack again, which also "
                "ends what is left of this one."
            )


def start(
    layout: Layout,
    *,
    environment: Mapping[str, str] | None = None,
    tie: bool,
    secure: bool = False,
    on_step: Callable[[str], None] = log.info,
    timeout_s: float = START_TIMEOUT_S,
) -> Stack:
    """Start a stack and wait until it is ready.

    Args:
        layout: the paths of its state.
        environment: variables in addition to this process's own.
        tie: whether it ends with this process, even after SIGKILL.
        secure: whether the broker has TLS, logins and ACLs; see `include.local.broker.security`.
        on_step: called with a few words when a slow step begins.
        timeout_s: seconds for the whole start.

    Raises:
        StackError: one runs already on this state, a port is in use, or a part does not start; nothing is left running.
    """
    make_folder(layout.state, private=True)
    make_folder(layout.directory)
    _wait_for_the_last(layout, on_step)
    with layout.supervisor_log.open("wb") as output:
        child = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "include.local.supervisor",
                *(["--secure"] if secure else []),
                *([str(os.getpid())] if tie else []),
            ],
            # The supervisor sets all other variables itself.
            env={**os.environ, **(environment or {}), "MILLRACE_STATE": str(layout.state)},
            cwd=PROJECT_ROOT,
            stdin=subprocess.PIPE if tie else subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        record = _wait_until_ready(layout, child, on_step, timeout_s)
        return _stack(layout, record, child)
    except BaseException:
        stop(layout, child)
        raise


def attach(layout: Layout) -> Stack | None:
    """The background stack of this state, None if there is none or it belongs to a process."""
    record = StackRecord.load(layout.record_file)
    if record is None or record.owner is not None or record.status != "ready" or find(record.supervisor) is None:
        return None
    return _stack(layout, record, None)


def stop(layout: Layout, child: subprocess.Popen[bytes] | None = None, *, timeout_s: float = STOP_TIMEOUT_S) -> bool:
    """Stop the stack of this state and the rest of a killed one; return whether anything ran.

    Args:
        layout: the paths of its state.
        child: the supervisor, if this process started it.
        timeout_s: seconds for a clean stop; then the rest is killed.

    Raises:
        StackError: a process is still there after SIGKILL.
    """
    record = StackRecord.load(layout.record_file)
    if child is not None:
        child.terminate()
    elif record is not None and (supervisor := find(record.supervisor)) is not None:
        with suppress(psutil.NoSuchProcess):
            supervisor.terminate()
    elif record is None or not survivors(record.processes):
        return False
    deadline = time.monotonic() + timeout_s
    while is_locked(layout.lock_file) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    record = StackRecord.load(layout.record_file)
    marks = [record.supervisor, *record.processes] if record else []
    end_all(lambda: survivors(marks))
    if child is not None:
        child.communicate()  # waits, and closes the pipe that ties it to this process
    return True


def what_ended(layout: Layout) -> list[str]:
    """What has ended by itself in the stack of this state, or in its last one: when, how, and the end of its log."""
    record = StackRecord.load(layout.record_file)
    if record is None:
        return []
    found = [ending.sentence(name) for name, ending in record.endings.items()]
    if record.status == "failed":
        found.append(f"The stack has failed: {record.error}")
    elif record.status != "stopped" and find(record.supervisor) is None:
        last = datetime.fromtimestamp(layout.lock_file.stat().st_mtime, UTC)
        found.append(
            f"The stack's supervisor (pid {record.supervisor.pid}) was killed at {local_time(last)}. The end of its "
            f"log:\n{log_tail(layout.supervisor_log)}"
        )
    return found


def remove_state(layout: Layout) -> list[Path]:
    """Remove a stopped stack's state except the broker's jars; return the removed folders.

    Raises:
        StackError: something still runs on it.
    """
    record, cluster = StackRecord.load(layout.record_file), Cluster.load(layout.broker_data)
    if is_locked(layout.lock_file) or (record and survivors(record.processes)):
        raise StackError(f"A stack runs on {layout.state}: stop it with `make down` first.")
    if cluster and cluster.running():
        raise StackError(f"The broker of {layout.broker_data} runs: stop it with `millrace broker stop` first.")
    present = [folder for folder in (*layout.folders, layout.secured) if folder.is_dir()]
    for folder in present:
        remove_folder(layout.state, folder)
    return present


def settings_of(layout: Layout) -> dict[str, str]:
    """The variables of the running stack, or of one that would start now (without its broker's address).

    Raises:
        PortUnavailable: a port that the environment sets is in use.
    """
    record = StackRecord.load(layout.record_file)
    if record is not None and record.settings and find(record.supervisor) is not None:
        return record.settings
    ports, _ = choose_ports(os.environ)
    return stack_settings(layout, ports=ports, kafka={CONNECTION: {"bootstrap.servers": ""}}, environment=os.environ)


def _stack(layout: Layout, record: StackRecord, child: subprocess.Popen[bytes] | None) -> Stack:
    return Stack(layout, record, read_password(layout.password_file), child)


def _wait_until_ready(
    layout: Layout, child: subprocess.Popen[bytes], on_step: Callable[[str], None], timeout_s: float
) -> StackRecord:
    deadline = time.monotonic() + timeout_s
    reported: list[str] = []
    while True:
        ended = child.poll() is not None  # before the record is read, as its last entry is written before the end
        record = StackRecord.load(layout.record_file)
        if record is not None and record.supervisor.pid == child.pid:
            for sentence in (*record.notes, record.step):
                if sentence and sentence not in reported:
                    reported.append(sentence)
                    on_step(sentence)
            if record.status == "ready":
                return record
            if ended:
                raise StackError(record.error or "The stack was stopped while it started: start it again.")
        elif ended and child.returncode == RUNS_ALREADY:
            raise StackError(f"Another process has just started a stack on {layout.state}: use that one, or stop it.")
        elif ended:
            raise StackError(
                f"The stack's supervisor ended with status {child.returncode}:\n{log_tail(layout.supervisor_log)}"
            )
        if time.monotonic() > deadline:
            raise StackError(f"The stack is not ready after {timeout_s:g} s: see the logs in {layout.directory}.")
        time.sleep(_POLL_S)


def _wait_for_the_last(layout: Layout, on_step: Callable[[str], None]) -> None:
    """Raise if a stack is in use; wait for one whose owner was killed, as it is about to end."""
    deadline = time.monotonic() + STOP_TIMEOUT_S
    reported = False
    while is_locked(layout.lock_file):
        record = StackRecord.load(layout.record_file)
        if record is not None and record.status in ("starting", "ready"):
            if record.owner is None:
                raise StackError(
                    f"A stack runs in the background on {layout.state} ({record.url or 'still starting'}): use that "
                    "one, or stop it with `make down`."
                )
            if find(record.owner) is not None:
                raise StackError(
                    f"Process {record.owner.pid} runs a stack on {layout.state} ({record.url or 'still starting'}): "
                    "wait for its end, or stop it with Ctrl-C there or with `make down`."
                )
        if time.monotonic() > deadline:
            raise StackError(
                f"The last stack on {layout.state} has not ended in {STOP_TIMEOUT_S:g} s: end it with `make down`."
            )
        if not reported:
            reported = True
            on_step("Waiting for the last stack to end")
        time.sleep(_POLL_S)


def _load(layout: Layout) -> StackRecord:
    record = StackRecord.load(layout.record_file)
    if record is None:
        raise StackError(f"{layout.record_file} is gone, so the stack cannot be found: start the stack again.")
    return record
