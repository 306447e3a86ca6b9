"""The executor of the local stack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import psutil
from airflow.executors.local_executor import LocalExecutor
from airflow.utils.state import TaskInstanceState

if TYPE_CHECKING:
    from airflow.models.taskinstance import TaskInstance


class AdoptingLocalExecutor(LocalExecutor):
    """Lets the running tasks of a scheduler that was killed go on, where Airflow's own would run them again.

    A worker outlives its scheduler and reports its task to the API server. If a pid is another process's by now, the
    task misses its heartbeats and is tried again.
    """

    def try_adopt_task_instances(self, tis: Sequence[TaskInstance]) -> Sequence[TaskInstance]:
        """Return those to run again: the queued ones, which only the ended scheduler knew of, and those that ended."""
        return [task for task in tis if not _runs(task)]


def _runs(task: TaskInstance) -> bool:
    return task.state == TaskInstanceState.RUNNING and task.pid is not None and psutil.pid_exists(task.pid)
