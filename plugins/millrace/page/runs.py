"""The latest runs of DAGs, from Airflow's database."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from sqlalchemy import select, union_all

# How many runs of each DAG are shown, the newest.
SHOWN_RUNS = 5
# DAGs that one statement asks for; SQLite takes at most 500 parts.
CHUNK = 100


@dataclass(frozen=True)
class Run:
    """A run of a DAG.

    Attributes:
        state: as Airflow names it: queued, running, success, failed.
    """

    dag_id: str
    run_id: str
    state: str
    started: datetime | None
    ended: datetime | None


@dataclass(frozen=True)
class DagView:
    """A DAG, with its latest runs, the newest first."""

    dag_id: str
    paused: bool
    runs: tuple[Run, ...]

    @property
    def last(self) -> Run | None:
        return next(iter(self.runs), None)


def latest_runs(dag_ids: Collection[str]) -> dict[str, DagView]:
    """Those of the DAGs that Airflow has, by id."""
    with create_session() as session:
        known = dict(
            session.execute(
                select(DagModel.dag_id, DagModel.is_paused).where(
                    DagModel.dag_id.in_(dag_ids), DagModel.is_stale.is_(False)
                )
            ).all()
        )
        runs: dict[str, list[Run]] = {dag_id: [] for dag_id in known}
        for chunk in _chunks(sorted(known)):
            newest = [
                select(DagRun.id, DagRun.dag_id, DagRun.run_id, DagRun.state, DagRun.start_date, DagRun.end_date)
                .where(DagRun.dag_id == dag_id)
                .order_by(DagRun.id.desc())
                .limit(SHOWN_RUNS)
                .subquery()
                for dag_id in chunk
            ]
            rows = session.execute(union_all(*(select(found) for found in newest))).all()
            for _, dag_id, run_id, state, started, ended in sorted(rows, reverse=True):
                runs[dag_id].append(Run(dag_id, run_id, str(state), started, ended))
    return {dag_id: DagView(dag_id, bool(paused), tuple(runs[dag_id])) for dag_id, paused in known.items()}


def _chunks(dag_ids: list[str]) -> Iterator[list[str]]:
    remaining = iter(dag_ids)
    while chunk := list(islice(remaining, CHUNK)):
        yield chunk
