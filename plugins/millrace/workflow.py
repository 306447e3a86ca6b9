"""What the DAG files share: the pipelines to build DAGs for, and the settings of every DAG."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import BaseOperator, CronTriggerTimetable, Param, get_parsing_context
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

from include.definition.files import InvalidPipeline, load_pipelines, pipelines_folder, read_pipeline
from include.definition.pipeline import Pipeline
from millrace.alerts import alert_failed_run, alert_late_run
from millrace.operators import EnsureTopicsOperator

START = datetime(2026, 1, 1, tzinfo=UTC)


def pipelines_for(workflow: str) -> Iterator[Pipeline]:
    """The valid pipelines to build `<name>.<workflow>` for.

    A task's process needs one DAG only, so the other files are not read there.
    """
    wanted = get_parsing_context().dag_id
    if wanted is None:
        yield from load_pipelines()[0]
        return
    name, _, wanted_workflow = wanted.rpartition(".")
    path = pipelines_folder() / f"{name}.toml"
    if wanted_workflow == workflow and path.is_file():
        pipeline = read_pipeline(path)
        if not isinstance(pipeline, InvalidPipeline):
            yield pipeline


def ensure_topics_before(pipeline: Pipeline, first: BaseOperator) -> None:
    """Create the pipeline's topics before a task runs, if the pipeline has no ingest DAG that creates them."""
    if pipeline.source is None:
        EnsureTopicsOperator(task_id="ensure_topics", pipeline=pipeline.name) >> first


def cron(schedule: str) -> CronTriggerTimetable:
    """A schedule from the pipeline's file, in UTC."""
    return CronTriggerTimetable(schedule, timezone="UTC")


def time_param(*, title: str, description: str) -> Param:
    """A time in a form, which may be left out."""
    return Param(None, type=["null", "string"], format="date-time", title=title, description=description)


def dag_settings(pipeline: Pipeline, workflow: str, *, documentation: str) -> dict[str, Any]:
    """Keyword arguments of a `DAG`: id, documentation, owner, tags, alerts, retries with backoff, timeouts."""
    longest = getattr(pipeline.alerts, f"{workflow}_s", None)
    deadline = None
    if longest is not None:
        callback = AsyncCallback(alert_late_run, {"pipeline": pipeline.name, "seconds": longest})
        deadline = DeadlineAlert(DeadlineReference.DAGRUN_QUEUED_AT, timedelta(seconds=longest), callback)
    return {
        "dag_id": f"{pipeline.name}.{workflow}",
        "description": pipeline.description,
        "doc_md": f"{pipeline.description}\n\n{documentation.strip()}\n",
        "tags": ["millrace", pipeline.name, workflow, *pipeline.tags],
        "start_date": START,
        "catchup": False,
        "max_active_runs": 1,
        "on_failure_callback": alert_failed_run,
        "deadline": deadline,
        "dagrun_timeout": timedelta(hours=12),
        "render_template_as_native_obj": True,
        "default_args": {
            "owner": pipeline.owner,
            "retries": 3,
            "retry_delay": timedelta(seconds=10),
            "retry_exponential_backoff": True,
            "max_retry_delay": timedelta(minutes=10),
            "execution_timeout": timedelta(hours=3),
        },
    }
