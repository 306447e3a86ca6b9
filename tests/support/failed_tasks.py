"""A failed task, as alerts see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from millrace.alerts import FAILURE


@dataclass
class FailedTask:
    """The part of a task instance by which a failing task leaves its error for the alert."""

    task_id: str = "publish_predictions"
    left: list[Any] = field(default_factory=list)

    def xcom_push(self, key: str, value: Any) -> None:
        assert key == FAILURE
        self.left.append(value)

    def xcom_pull(self, task_ids: list[str], key: str) -> list[Any]:
        assert (task_ids, key) == ([self.task_id], FAILURE)
        return self.left
