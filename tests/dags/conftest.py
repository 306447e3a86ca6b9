"""The DAG files as Airflow's dag processor loads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag

PROJECT = Path(__file__).parents[2]
DAGS = PROJECT / "dags"


def load_dags() -> DagBag:
    return DagBag(dag_folder=str(DAGS), collect_dags=True)


@pytest.fixture(scope="session")
def dag_bag() -> DagBag:
    return load_dags()
