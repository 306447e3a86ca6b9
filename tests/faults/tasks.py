"""The processes of a running Airflow task: found, killed, frozen and seen to be gone."""

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
from tests.support.processes import ended, wait_for

START_S = 300
# Airflow's supervisor asks every five seconds whether its task is still wanted, and kills it five seconds later; a
# loaded machine takes longer.
STOP_S = 180


@dataclass(frozen=True)
class AirflowTask:
    """One task of one run, through all of its tries."""

    stack: Stack
    dag_id: str
    run_id: str
    task_id: str

    def look(self) -> dict[str, Any]:
        """What Airflow says of it: `id` (of this try), `state`, `try_number`, ..."""
        tasks = self.stack.api.tasks(self.dag_id, self.run_id)
        return next(task for task in tasks if task["task_id"] == self.task_id)

    def process(self) -> psutil.Process:
        """Wait until it runs; the process that executes the operator, leader of a group of its own."""
        found: list[psutil.Process] = []

        def runs() -> bool:
            task = self.look()
            assert task["state"] not in ("success", "failed", "skipped"), f"{self} ended before it could be hit: {task}"
            # As Airflow's task runner calls itself; its parent, who supervises it, has the task's name in its title.
            title = f"airflow worker -- {task['id']}"
            found.extend(process for process in psutil.process_iter() if _title(process) == title)
            return bool(found)

        wait_for(runs, f"{self.task_id} of {self.dag_id} to run", timeout_s=START_S)
        return found[0]

    def mark_failed(self) -> None:
        """What the button of Airflow's UI does."""
        path = f"/dags/{self.dag_id}/dagRuns/{self.run_id}/taskInstances/{self.task_id}"
        self.stack.api.patch(path, {"new_state": "failed"})

    def mark_run_failed(self) -> None:
        """The same for the whole run."""
        self.stack.api.patch(f"/dags/{self.dag_id}/dagRuns/{self.run_id}", {"state": "failed"})

    def clear(self) -> None:
        """Have it, and what comes after it, run again."""
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
                # On SQLite, Airflow refuses one request in many while a task writes, and has done nothing then.
                if error.status is None or error.status < httpx.codes.INTERNAL_SERVER_ERROR:
                    raise
                return False
            return True

        wait_for(is_cleared, f"{self.task_id} of {self.dag_id} to be cleared")


def kill_process(process: psutil.Process) -> None:
    """The task's process alone."""
    process.kill()


def kill_group(process: psutil.Process) -> None:
    """It and whatever it has started."""
    assert os.getpgid(process.pid) == process.pid, "the task leads no group of its own"
    os.killpg(process.pid, signal.SIGKILL)


def kill_supervisor(process: psutil.Process) -> None:
    """Airflow's process that started it and waits for it: the task goes on as an orphan until it notices."""
    parent = process.parent()
    assert parent is not None
    assert _title(parent).startswith("airflow worker -- LocalExecutor"), _title(parent)
    parent.kill()


@contextmanager
def frozen(process: psutil.Process) -> Iterator[None]:
    """Nothing of the process moves within the block."""
    process.suspend()
    try:
        yield
    finally:
        # Airflow kills it after some seconds, frozen or not.
        with suppress(psutil.NoSuchProcess):
            process.resume()


def wait_for_sigterm(process: psutil.Process) -> None:
    """Wait until a frozen process has been asked to end."""
    status = Path(f"/proc/{process.pid}/status")

    def asked() -> bool:
        if ended(process.pid):  # Airflow's second signal was faster than this process
            return True
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        pending = int(lines["SigPnd"], 16) | int(lines["ShdPnd"], 16)
        return bool(pending & 1 << (signal.SIGTERM - 1))

    wait_for(asked, f"process {process.pid} to be asked to end", timeout_s=STOP_S)


def wait_until_gone(processes: list[psutil.Process], *, timeout_s: float = STOP_S) -> None:
    """Wait until none of them is left."""
    pids = [process.pid for process in processes]
    wait_for(lambda: all(map(ended, pids)), f"processes {pids} to be gone", timeout_s=timeout_s)


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()).strip()
    except psutil.Error:
        return ""
