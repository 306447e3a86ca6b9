"""Links beside a task in Airflow's interface: to the page, and to MLflow."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class PageLink(BaseOperatorLink):
    """To the page of the task's pipeline."""

    name = "Millrace"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002 - Airflow passes it
        """The address within Airflow's interface, which shows the page in its frame."""
        root = urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")
        return f"{root}/plugin/millrace{root}/millrace/{operator.pipeline}/look"  # type: ignore[attr-defined]


class MlflowLink(BaseOperatorLink):
    """To the pipeline's model in MLflow."""

    name = "MLflow"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002 - Airflow passes it
        """The address of MLflow's own interface; empty where none is known."""
        from include.registry.tracking import interface_address

        address = interface_address()
        return f"{address}/#/models/{operator.pipeline}" if address else ""  # type: ignore[attr-defined]
