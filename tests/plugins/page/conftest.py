"""The page behind Airflow's own login: a real database, auth manager and tokens, and the app as Airflow mounts it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from millrace.page.app import make_app
from millrace.page.site import WORKFLOWS, Site
from tests.support.page import Person

if TYPE_CHECKING:
    from include.definition.pipeline import Pipeline


@pytest.fixture(scope="session")
def airflow_database() -> None:
    """Airflow's tables in the session's home."""
    from airflow.api_fastapi.app import init_auth_manager
    from airflow.utils.db import initdb

    initdb()
    init_auth_manager()


@pytest.fixture
def known_dags(airflow_database: None) -> Iterator[Callable[..., None]]:
    """Adds a pipeline's DAGs to Airflow's database, with one run of each of some; removed at the end."""
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.dagrun import DagRun
    from airflow.sdk import timezone
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunType
    from sqlalchemy import delete

    added: list[str] = []

    def add(pipeline: Pipeline, **states: str) -> None:
        with create_session() as session:
            if session.get(DagBundleModel, "dags") is None:
                session.add(DagBundleModel(name="dags"))
                session.flush()
            for workflow in WORKFLOWS:
                dag_id = f"{pipeline.name}.{workflow}"
                session.add(DagModel(dag_id=dag_id, bundle_name="dags", is_stale=False, fileloc="x"))
                added.append(dag_id)
            session.flush()
            for workflow, state in states.items():
                now = timezone.utcnow()
                session.add(
                    DagRun(
                        dag_id=f"{pipeline.name}.{workflow}",
                        run_id="manual__1",
                        run_after=now,
                        run_type=DagRunType.MANUAL,
                        state=state,
                        start_date=now,
                    )
                )

    yield add
    with create_session() as session:
        session.execute(delete(DagRun).where(DagRun.dag_id.in_(added)))
        session.execute(delete(DagModel).where(DagModel.dag_id.in_(added)))


@pytest.fixture
def visit_site(airflow_database: None) -> Callable[[Site, str | None], Person]:
    """Opens the page of a site as a person with a role of Airflow's, or as nobody."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    def open_as(site: Site, role: str | None) -> Person:
        root = FastAPI()
        root.mount("/millrace", make_app(site))
        headers = {}
        if role is not None:
            token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=role.lower(), role=role))
            headers = {"Authorization": f"Bearer {token}"}
        return Person(TestClient(root, headers=headers))

    return open_as


@pytest.fixture
def visit(visit_site: Callable[[Site, str | None], Person]) -> Callable[[str | None], Person]:
    """The same with one site for all persons of the test."""
    return partial(visit_site, Site())
