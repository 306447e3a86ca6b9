"""What tasks of past runs have returned, from Airflow's database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow.models.dagrun import DagRun
from airflow.models.xcom import XCOM_RETURN_KEY, XComModel
from airflow.utils.session import create_session
from sqlalchemy import select

# Of one task, the newest.
MOST = 500


@dataclass(frozen=True)
class Result:
    """What a task has returned.

    Attributes:
        at: when.
        ended: when its run has ended; None while it is at work.
        value: as JSON; who has another backend for XComs may have anything there.
    """

    at: datetime
    ended: datetime | None
    value: Any


def results(dag_id: str, task_id: str, since: datetime, most: int = MOST) -> list[Result]:
    """The results of a task since a time, the newest `most` of them, the oldest first."""
    with create_session() as session:
        rows = session.execute(
            select(XComModel.timestamp, DagRun.end_date, XComModel.value)
            .join(DagRun, DagRun.id == XComModel.dag_run_id)
            .where(
                XComModel.dag_id == dag_id,
                XComModel.task_id == task_id,
                XComModel.map_index == -1,
                XComModel.key == XCOM_RETURN_KEY,
                XComModel.timestamp >= since,
            )
            .order_by(XComModel.timestamp.desc())
            .limit(most)
        ).all()
    return [Result(row.timestamp, row.end_date, XComModel.deserialize_value(row)) for row in reversed(rows)]
