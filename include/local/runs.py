"""The runs of the pipelines' DAGs for display: one row a run, its tasks in order."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from include.local.api import ACTIVE, NOT_MAPPED, AirflowApi

_PAGE = 100
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Task:
    """One task instance; `state` is None before it is scheduled, `seconds` before it started."""

    id: str
    state: str | None
    try_number: int
    seconds: float | None
    map_index: int = NOT_MAPPED


@dataclass(frozen=True)
class Run:
    """One DAG run; `kind` is scheduled, manual, asset_triggered or backfill."""

    dag_id: str
    id: str
    kind: str
    state: str
    started: datetime | None
    seconds: float | None
    tasks: tuple[Task, ...]

    @property
    def active(self) -> bool:
        return self.state in ACTIVE

    @property
    def skipped(self) -> bool:
        """Whether it succeeded and a task skipped because there was nothing to do."""
        return self.state == "success" and any(task.state == "skipped" for task in self.tasks)


@dataclass
class RunFollower:
    """Polls the runs of some DAGs; a run that has ended is requested once.

    It uses GET only: Airflow writes an audit row for each POST, for listings too, and on SQLite such a write can
    collide with a task's and block the whole API server for seconds.
    """

    api: AirflowApi
    dag_ids: frozenset[str]
    _ended: dict[tuple[str, str], Run] = field(default_factory=dict, init=False, repr=False)

    def runs(self) -> list[Run]:
        """The latest runs (of the last 100 of all DAGs), in the order of their start."""
        found = []
        for item in self.api.get("/dags/~/dagRuns", order_by="-run_after", limit=_PAGE)["dag_runs"]:
            key = item["dag_id"], item["dag_run_id"]
            if item["dag_id"] not in self.dag_ids:
                continue
            run = self._ended.get(key)
            # A cleared run runs again.
            if run is None or item["state"] != run.state:
                run = _run(item, self.api.tasks(*key))
                if not run.active:
                    self._ended[key] = run
            found.append(run)
        return sorted(found, key=lambda run: run.started or _NEVER)


def _run(run: dict[str, Any], tasks: list[dict[str, Any]]) -> Run:
    started = _time(run["start_date"])
    return Run(
        dag_id=run["dag_id"],
        id=run["dag_run_id"],
        kind=run["run_type"],
        state=run["state"],
        started=started,
        seconds=_seconds(started, _time(run["end_date"])),
        tasks=tuple(
            Task(task["task_id"], task["state"], task["try_number"], task["duration"], task["map_index"])
            for task in sorted(tasks, key=lambda task: _time(task["start_date"]) or _NEVER)
        ),
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return ((end or datetime.now(UTC)) - start).total_seconds() if start else None
