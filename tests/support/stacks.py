"""Stacks on random ports, beside the developer's own, and the runs of their DAGs."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from include.definition.files import read_pipeline
from include.definition.pipeline import Pipeline
from include.local import stack as local
from include.local.api import ACTIVE, AirflowApi
from include.local.broker import Cluster
from include.local.environment import Layout
from include.local.ports import API_PORT, MLFLOW_PORT, TRIGGER_LOG_PORT, WORKER_LOG_PORT, is_free
from include.local.rights import grant_steps
from include.local.stack import Stack

# Apart from the embedded broker's ports.
AIRFLOW_PORTS = range(10_000, 20_000)
# For Airflow to notice a new pipeline, which it looks for every half minute.
LOADED_S = 600
# A pipeline that each stack has: each workflow's file makes a DAG of every pipeline.
BUNDLED_ONE = "digits"
# A person of the one stack's who may see everything and trigger nothing.
READER = "reader"


def random_ports() -> dict[str, str]:
    """Free ports far from the defaults, as environment variables."""
    free = filter(is_free, random.sample(AIRFLOW_PORTS, len(AIRFLOW_PORTS)))
    names = (API_PORT, WORKER_LOG_PORT, TRIGGER_LOG_PORT, MLFLOW_PORT)
    return dict(zip(names, map(str, islice(free, len(names))), strict=True))


@contextmanager
def running_stack(
    state: Path,
    *,
    environment: Mapping[str, str] | None = None,
    secure: bool = False,
    on_step: Callable[[str], None] = local.log.info,
) -> Iterator[Stack]:
    """A stack on random free ports; everything ends with the block, or with this process, even after SIGKILL."""
    chosen = {**random_ports(), **(environment or {})}
    stack = local.start(
        Layout(state.expanduser().resolve()), environment=chosen, tie=True, secure=secure, on_step=on_step
    )
    try:
        yield stack
    finally:
        stack.stop()


@contextmanager
def added_pipelines(
    stack: Stack, files: Mapping[str, str], workflows: Sequence[str] = ("train", "predict")
) -> Iterator[None]:
    """Pipelines that a running stack gets for the block, by name and text: their DAGs, and their rights on Kafka.

    Args:
        workflows: whose DAGs are waited for.
    """
    folder = Path(stack.record.settings["MILLRACE_PIPELINES"])
    paths = [folder / f"{name}.toml" for name in files]
    try:
        for path, text in zip(paths, files.values(), strict=True):
            path.write_text(text)
        pipelines = [read_pipeline(path) for path in paths]
        cluster = Cluster.load(stack.layout.broker_data)
        assert cluster is not None
        grant_steps(cluster, [pipeline for pipeline in pipelines if isinstance(pipeline, Pipeline)])
        for dag_id in (f"{BUNDLED_ONE}.{workflow}" for workflow in workflows):
            # A file without a DAG, such as that of `watch`, is parsed when its turn comes.
            if stack.api.has_dag(dag_id):
                stack.api.parse_soon(dag_id)
        for name, workflow in itertools.product(files, workflows):
            dag_id = f"{name}.{workflow}"
            stack.api.wait_until(lambda dag=dag_id: stack.api.has_dag(dag), timeout_s=LOADED_S, what=f"no DAG {dag_id}")
        yield
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


def runs_of(api: AirflowApi, dag_id: str) -> list[dict[str, Any]]:
    """The latest 100 runs of a DAG, oldest first: `dag_run_id`, `state`, `run_type`, `start_date`, `conf`, ..."""
    page = api.get(f"/dags/{dag_id}/dagRuns", order_by="-run_after", limit=100)
    return list(reversed(page["dag_runs"]))


def result_of(api: AirflowApi, dag_id: str, run_id: str, task_id: str) -> Any:
    """What a task returned."""
    return api.get(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value")["value"]


def wait_for_run(api: AirflowApi, dag_id: str, run_id: str, *, timeout_s: float) -> dict[str, Any]:
    """Wait until a run has ended, and return it whatever its state."""

    def ended() -> dict[str, Any] | None:
        run: dict[str, Any] = api.get(f"/dags/{dag_id}/dagRuns/{run_id}")
        return None if run["state"] in ACTIVE else run

    found: dict[str, Any] = api.wait_until(ended, timeout_s=timeout_s, what=f"run {run_id} of {dag_id} has not ended")
    return found
