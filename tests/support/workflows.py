"""Runs the three workflows of bundled pipelines once with the real scheduler, from a clean Airflow home."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from include.definition.files import PIPELINES
from include.local.api import ACTIVE
from include.local.stack import Stack
from tests.support.stacks import result_of, runs_of

BUNDLED = sorted(path.stem for path in PIPELINES.glob("*.toml"))
# Those whose samples and trainings are small: `make test` runs them, and `make test-long` the others, too.
SMALL = ("digits", "passengers")
LARGE = tuple(name for name in BUNDLED if name not in SMALL)
TIMEOUT_S = 1200
WORKFLOWS = ("predict", "train", "ingest")


def successes(stack: Stack, pipeline: str, workflow: str, task: str) -> list[dict[str, Any]]:
    """The results of the runs in which the task succeeded, oldest first; a skipped task has none."""
    dag_id = f"{pipeline}.{workflow}"
    results = []
    for run in runs_of(stack.api, dag_id):
        states = {item["task_id"]: item["state"] for item in stack.api.tasks(dag_id, run["dag_run_id"])}
        if states.get(task) == "success":
            results.append(result_of(stack.api, dag_id, run["dag_run_id"], task))
    return results


def idle(stack: Stack, pipelines: Sequence[str]) -> bool:
    """Whether no run is queued or running; a failed run fails the test with the path of its logs."""
    for pipeline in pipelines:
        for workflow in WORKFLOWS:
            for run in runs_of(stack.api, f"{pipeline}.{workflow}"):
                if run["state"] == "failed":
                    pytest.fail(f"{run['dag_id']} {run['dag_run_id']} failed, see {stack.layout.task_logs}")
                if run["state"] != "success":
                    return False
    return True


def pause_when_idle(stack: Stack, dag_id: str) -> None:
    """Pause a DAG while it has no run: Airflow would not end one."""

    def paused() -> bool:
        if any(run["state"] in ACTIVE for run in runs_of(stack.api, dag_id)):
            return False
        stack.api.patch(f"/dags/{dag_id}", {"is_paused": True})
        if not any(run["state"] in ACTIVE for run in runs_of(stack.api, dag_id)):
            return True
        stack.api.unpause(dag_id)
        return False

    stack.api.wait_until(paused, timeout_s=TIMEOUT_S, what=f"{dag_id} is paused between two runs")


def run_workflows(stack: Stack, pipelines: Sequence[str]) -> None:
    """Return when each of the pipelines has ingested twice, promoted a model and predicted its requests.

    No more is ingested then: a batch on the hour would come while tests compare the topics.
    """
    for pipeline in pipelines:
        for workflow in WORKFLOWS:
            stack.api.unpause(f"{pipeline}.{workflow}")
        stack.api.trigger(f"{pipeline}.ingest")
    for pipeline in pipelines:
        # Unpausing starts one more run of ingest, for the last complete interval. A small source has one batch.
        stack.api.wait_until(
            lambda name=pipeline: (
                [run["state"] for run in runs_of(stack.api, f"{name}.ingest")].count("success") >= 2
                and successes(stack, name, "ingest", "produce_batch")
            ),
            timeout_s=TIMEOUT_S,
            what=f"two runs of {pipeline}.ingest have ended",
        )
        pause_when_idle(stack, f"{pipeline}.ingest")
    for pipeline in pipelines:
        stack.api.wait_until(
            lambda name=pipeline: (
                successes(stack, name, "train", "promote_model")
                and successes(stack, name, "predict", "publish_predictions")
            ),
            timeout_s=TIMEOUT_S,
            what=f"a model of {pipeline} was promoted and requests were predicted",
        )
    stack.api.wait_until(lambda: idle(stack, pipelines), timeout_s=TIMEOUT_S, what="all runs ended")
