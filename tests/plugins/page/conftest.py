"""The page behind Airflow's own login: a real database, auth manager and tokens, and the app as Airflow mounts it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from include.kafka.topics import ensure_topics
from millrace.page.app import make_app
from millrace.page.site import WORKFLOWS, Site
from tests.support.page import Person, Visit

if TYPE_CHECKING:
    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection


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
def pipeline(
    kafka: KafkaConnection, new_pipeline: Callable[..., Pipeline], known_dags: Callable[..., None]
) -> Pipeline:
    """A pipeline with its topics and its DAGs."""
    made = new_pipeline()
    ensure_topics(kafka, made.topic_specs())
    known_dags(made)
    return made


@pytest.fixture
def returned(known_dags: Callable[..., None]) -> Callable[..., None]:
    """Adds a run in which one task has returned something, of a pipeline that `known_dags` has added."""
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XCOM_RETURN_KEY, XComModel
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunType
    from sqlalchemy import insert

    def add(pipeline: Pipeline, workflow: str, task_id: str, at: datetime, ended: datetime | None, value: Any) -> None:
        place = {"dag_id": f"{pipeline.name}.{workflow}", "run_id": f"manual__{at.isoformat()}"}
        with create_session() as session:
            run = DagRun(**place, run_after=at, run_type=DagRunType.MANUAL, state="success", start_date=at)
            run.end_date = ended
            session.add(run)
            session.flush()
            task = {**place, "task_id": task_id}
            row = {**task, "id": uuid4(), "map_index": -1, "pool": "default_pool"}
            session.execute(insert(TaskInstance.__table__).values(**row))
            session.add(XComModel(**task, dag_run_id=run.id, key=XCOM_RETURN_KEY, value=value, timestamp=at))

    return add


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
def visit(visit_site: Callable[[Site, str | None], Person]) -> Visit:
    """The same with one site for all persons of the test."""
    return partial(visit_site, Site())
