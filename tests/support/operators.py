"""Operators outside Airflow's task process: the context that they execute in, and the first two steps of every flow."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from airflow.sdk.execution_time.context import OutletEventAccessors

from include.definition.pipeline import Pipeline
from millrace.assets import requests_asset, samples_asset
from millrace.operators import EnsureTopicsOperator, ProduceBatchOperator


@dataclass
class DagRun:
    """The attributes of a DAG run that the operators read."""

    dag_id: str
    run_id: str
    run_type: str = "manual"
    data_interval_start: datetime | None = None
    data_interval_end: datetime | None = None
    triggering_user_name: str | None = None
    run_after: datetime = field(default_factory=lambda: datetime(2026, 1, 2, tzinfo=UTC))


def context_of(run: DagRun) -> Any:
    """The context of a task of this run."""
    return {"dag_run": run, "outlet_events": OutletEventAccessors()}


def ensure_topics(pipeline: Pipeline) -> dict[str, str]:
    """Execute `ensure_topics`: what it did with each topic."""
    operator = EnsureTopicsOperator(task_id="ensure_topics", pipeline=pipeline.name)
    topics: dict[str, str] = operator.execute(context_of(DagRun("d", "r")))["topics"]
    return topics


def produce_batch(pipeline: Pipeline, **arguments: object) -> ProduceBatchOperator:
    """The `produce_batch` of the pipeline's ingest DAG."""
    return ProduceBatchOperator(
        task_id="produce_batch",
        pipeline=pipeline.name,
        outlets=[samples_asset(pipeline), requests_asset(pipeline)],
        **arguments,
    )
