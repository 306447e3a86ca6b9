"""Every DAG of every pipeline loads, is complete, and has the expected tasks."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import CronDataIntervalTimetable

from include.definition.files import load_pipelines

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.sdk.definitions.dag import DAG

PIPELINES = [pipeline.name for pipeline in load_pipelines()[0]]

# Workflow -> task -> the tasks that follow it.
TASKS: dict[str, dict[str, set[str]]] = {
    "ingest": {"ensure_topics": {"produce_batch"}, "produce_batch": set()},
    "train": {"freeze_ranges": {"train_model"}, "train_model": {"promote_model"}, "promote_model": set()},
    "predict": {"freeze_ranges": {"publish_predictions"}, "publish_predictions": set()},
    "repredict": {"ensure_topics": {"repredict_requests"}, "repredict_requests": set()},
    "rollback": {"roll_back_model": set()},
    "replay": {"replay_dead_letters": set()},
}
PARAMS: dict[str, set[str]] = {
    "ingest": {"records"},
    "train": {"epochs", "batch_size", "learning_rate", "min_new_samples", "as_of"},
    "predict": {"version", "accept_lost", "acknowledge"},
    "repredict": {"since", "until", "answered_by", "version", "accept_lost"},
    "rollback": {"version", "why"},
    "replay": {"reasons", "since", "until", "number"},
}
DAG_IDS = [f"{name}.{workflow}" for name in PIPELINES for workflow in TASKS]


@pytest.fixture(params=DAG_IDS)
def dag(request: pytest.FixtureRequest, dag_bag: DagBag) -> DAG:
    return dag_bag.dags[request.param]


def test_files_load_without_errors_and_make_every_workflow_a_dag_of_each_pipeline(dag_bag: DagBag) -> None:
    assert dag_bag.import_errors == {}
    assert PIPELINES, "without a pipeline the tests below would test nothing"
    assert sorted(dag_bag.dags) == sorted(DAG_IDS)


def test_dag_has_no_cycle(dag: DAG) -> None:
    dag.check_cycle()


def test_task_graph_is_the_expected_one(dag: DAG) -> None:
    workflow = dag.dag_id.rpartition(".")[2]
    assert {task.task_id: set(task.downstream_task_ids) for task in dag.tasks} == TASKS[workflow]


def test_dag_has_a_description_an_owner_and_tags(dag: DAG) -> None:
    name, _, workflow = dag.dag_id.rpartition(".")
    assert dag.description
    assert "**What it does.**" in (dag.doc_md or "")
    assert {"millrace", name, workflow} <= dag.tags
    assert {task.owner for task in dag.tasks} != {"airflow"}


def test_tasks_are_retried_with_backoff_and_bounded_in_time(dag: DAG) -> None:
    for task in dag.tasks:
        assert task.retries >= 2, task.task_id
        assert task.retry_exponential_backoff, task.task_id
        assert task.execution_timeout is not None, task.task_id
        assert timedelta(0) < task.execution_timeout <= timedelta(hours=6), task.task_id
    assert dag.dagrun_timeout is not None


def test_runs_do_not_overlap_and_missed_runs_are_not_caught_up(dag: DAG) -> None:
    assert dag.max_active_runs == 1
    assert dag.catchup is False


def test_params_make_a_form_with_titles_descriptions_and_defaults_within_their_limits(dag: DAG) -> None:
    workflow = dag.dag_id.rpartition(".")[2]
    assert set(dag.params) == PARAMS[workflow]
    for name in dag.params:
        param: Any = dag.params.get_param(name)
        assert param.schema.get("title"), name
        assert param.description, name
        # A form without a default asks a person for a value.
        if workflow != "rollback":
            assert param.resolve() is not None or "null" in param.schema["type"], name


@pytest.mark.parametrize("name", PIPELINES)
def test_ingest_runs_on_data_intervals(name: str, dag_bag: DagBag) -> None:
    assert isinstance(dag_bag.dags[f"{name}.ingest"].timetable, CronDataIntervalTimetable)


@pytest.mark.parametrize("name", PIPELINES)
def test_assets_connect_ingest_training_and_prediction(name: str, dag_bag: DagBag) -> None:
    def outlets(workflow: str) -> set[str]:
        return {asset.name for task in dag_bag.dags[f"{name}.{workflow}"].tasks for asset in task.outlets}

    def schedule(workflow: str) -> set[str]:
        condition = dag_bag.dags[f"{name}.{workflow}"].timetable.asset_condition
        return {asset.name for asset in condition.objects}

    assert outlets("ingest") == {f"{name}.samples", f"{name}.requests"}
    assert schedule("train") == {f"{name}.train.backlog"}
    assert outlets("train") == {f"{name}.model"}
    assert schedule("predict") == {f"{name}.predict.backlog", f"{name}.model"}
    assert outlets("predict") == {f"{name}.predictions"}
    assert outlets("replay") == {f"{name}.requests"}
    assert outlets("rollback") == {f"{name}.model"}
    assert outlets("repredict") == {f"{name}.repredictions"}


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("workflow", ["replay", "repredict", "rollback"])
def test_a_form_runs_only_when_triggered_and_is_not_paused(name: str, workflow: str, dag_bag: DagBag) -> None:
    form = dag_bag.dags[f"{name}.{workflow}"]

    assert form.schedule is None
    assert form.is_paused_upon_creation is False
