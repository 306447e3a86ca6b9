"""The project's DAGs, loaded once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.dags import load_dags

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag


@pytest.fixture(scope="session")
def dag_bag() -> DagBag:
    return load_dags()
