"""Who may see what: Airflow's login and its permissions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import AccessView, DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import get_user
from airflow.models.dag import DagModel
from fastapi import Depends

if TYPE_CHECKING:
    from airflow.api_fastapi.auth.managers.base_auth_manager import ResourceMethod

User = Annotated[BaseUser, Depends(get_user)]


def readable_dags(user: BaseUser) -> frozenset[str]:
    """The ids of the DAGs that a person may read, as everywhere in Airflow."""
    return frozenset(get_auth_manager().get_authorized_dag_ids(user=user, method="GET"))


def may_see_import_errors(user: BaseUser) -> bool:
    """Whether a person may see the import errors in Airflow, which name the faults of all invalid pipeline files."""
    return get_auth_manager().is_authorized_view(access_view=AccessView.IMPORT_ERRORS, user=user)


def may_see_records(user: BaseUser, pipeline: str) -> bool:
    """Whether a person may see what a pipeline's records hold: who may read what its prediction passes on."""
    return may_see_results(user, f"{pipeline}.predict")


def may_see_results(user: BaseUser, dag_id: str) -> bool:
    """Whether a person may see what the tasks of a DAG have returned."""
    return _may(user, dag_id, "GET", DagAccessEntity.XCOM)


def may_trigger(user: BaseUser, dag_id: str) -> bool:
    """Whether a form that triggers a DAG is of use to a person; Airflow's API decides again."""
    return _may(user, dag_id, "POST", DagAccessEntity.RUN)


def may_clear(user: BaseUser, dag_id: str) -> bool:
    """The same of a button that has a task of a run begin again."""
    return _may(user, dag_id, "PUT", DagAccessEntity.TASK_INSTANCE)


def _may(user: BaseUser, dag_id: str, method: ResourceMethod, entity: DagAccessEntity) -> bool:
    details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
    return get_auth_manager().is_authorized_dag(method=method, access_entity=entity, details=details, user=user)
