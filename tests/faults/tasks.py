"""The processes of a running Airflow task: find, kill, suspend and wait for them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from include.local.api import ApiError
from include.local.stack import Stack
from tests.support.processes import is_gone, wait_for

START_S = 300
# Airflow's supervisor checks every five seconds whether its task may go on, and sends SIGKILL five seconds after
# SIGTERM; a loaded machine takes longer.
STOP_S = 180


@dataclass(frozen=True)
class AirflowTask:
    """One task of one run, with all of its tries."""

    stack: Stack
    dag_id: str
    run_id: str
    task_id: str

    def look(self) -> dict[str, Any]:
        """The task instance in Airflow's API: `id` (of this try), `state`, `try_number`, ..."""
        tasks = self.stack.api.tasks(self.dag_id, self.run_id)
        return next(task for task in tasks if task["task_id"] == self.task_id)

    def process(self) -> psutil.Process:
        """Wait for the process that executes the operator; it leads a process group."""
        found: list[psutil.Process] = []

        def runs() -> bool:
            task = self.look()
            assert task["state"] not in ("success", "failed", "skipped"), f"{self} ended before it could be hit: {task}"
            # The title of Airflow's task runner; that of its parent, the supervisor, names the task.
            title = f"airflow worker -- {task['id']}"
            found.extend(process for process in psutil.process_iter() if _title(process) == title)
            return bool(found)

        wait_for(runs, f"{self.task_id} of {self.dag_id} to run", timeout_s=START_S)
        return found[0]

    def mark_failed(self) -> None:
        """Mark the task as failed, as Airflow's UI does."""
        path = f"/dags/{self.dag_id}/dagRuns/{self.run_id}/taskInstances/{self.task_id}"
        self.stack.api.patch(path, {"new_state": "failed"})

    def mark_run_failed(self) -> None:
        """Mark the whole run as failed, as Airflow's UI does."""
        self.stack.api.patch(f"/dags/{self.dag_id}/dagRuns/{self.run_id}", {"state": "failed"})

    def clear(self) -> None:
        """Clear the task and those downstream, so that they run again."""
        request = {
            "dry_run": False,
            "dag_run_id": self.run_id,
            "task_ids": [self.task_id],
            "include_downstream": True,
            "only_failed": False,
            "reset_dag_runs": True,
        }

        def is_cleared() -> bool:
            try:
                self.stack.api.post(f"/dags/{self.dag_id}/clearTaskInstances", request)
            except ApiError as error:
                # On SQLite, Airflow refuses some requests while a task writes, and rolls them back.
                if error.status is None or error.status < httpx.codes.INTERNAL_SERVER_ERROR:
                    raise
                return False
            return True

        wait_for(is_cleared, f"{self.task_id} of {self.dag_id} to be cleared")


def kill_process(process: psutil.Process) -> None:
    """Kill the task's process only."""
    process.kill()


def kill_group(process: psutil.Process) -> None:
    """Kill the task's process group, its children included."""
    assert os.getpgid(process.pid) == process.pid, "the task leads no group of its own"
    os.killpg(process.pid, signal.SIGKILL)


def kill_supervisor(process: psutil.Process) -> None:
    """Kill the task's supervisor: the task goes on as an orphan."""
    parent = process.parent()
    assert parent is not None
    assert _title(parent).startswith("airflow worker -- LocalExecutor"), _title(parent)
    parent.kill()


@contextmanager
def frozen(process: psutil.Process) -> Iterator[None]:
    """Suspend the process within the block."""
    process.suspend()
    try:
        yield
    finally:
        # Airflow may have killed it by now.
        with suppress(psutil.NoSuchProcess):
            process.resume()


def wait_for_sigterm(process: psutil.Process) -> None:
    """Wait until a suspended process has a SIGTERM pending."""
    status = Path(f"/proc/{process.pid}/status")

    def asked() -> bool:
        if is_gone(process.pid):  # by the SIGKILL that follows
            return True
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        pending = int(lines["SigPnd"], 16) | int(lines["ShdPnd"], 16)
        return bool(pending & 1 << (signal.SIGTERM - 1))

    wait_for(asked, f"process {process.pid} to be asked to end", timeout_s=STOP_S)


def wait_until_gone(processes: list[psutil.Process], *, timeout_s: float = STOP_S) -> None:
    """Wait until all of them have ended."""
    pids = [process.pid for process in processes]
    wait_for(lambda: all(map(is_gone, pids)), f"processes {pids} to be gone", timeout_s=timeout_s)


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()).strip()
    except psutil.Error:
        return ""
