"""The DAG files as Airflow's dag processor loads them."""

from __future__ import annotations

from airflow.dag_processing.dagbag import DagBag

from include.storage.state import PROJECT_ROOT

DAGS = PROJECT_ROOT / "dags"


def load_dags() -> DagBag:
    return DagBag(dag_folder=str(DAGS), collect_dags=True)
