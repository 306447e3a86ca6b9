"""The DAGs of a pipeline over external topics: no ingest, no replay, and their own schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from airflow.sdk import CronTriggerTimetable

from tests.support.dags import load_dags
from tests.support.external_topics import ARTICLE

if TYPE_CHECKING:
    from pathlib import Path

    from airflow.sdk.definitions.dag import DAG


@pytest.fixture(scope="module")
def dags(tmp_path_factory: pytest.TempPathFactory) -> dict[str, DAG]:
    folder: Path = tmp_path_factory.mktemp("pipelines")
    (folder / "theirs.toml").write_text(ARTICLE)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MILLRACE_PIPELINES", str(folder))
        bag = load_dags()
    assert bag.import_errors == {}
    return bag.dags


def test_external_topics_have_neither_an_ingest_nor_a_replay_dag(dags: dict[str, DAG]) -> None:
    assert sorted(dags) == ["theirs.predict", "theirs.repredict", "theirs.rollback", "theirs.train"]


@pytest.mark.parametrize(("dag_id", "schedule"), [("theirs.train", "0 2 * * *"), ("theirs.predict", "*/10 * * * *")])
def test_the_schedule_is_that_of_the_file(dags: dict[str, DAG], dag_id: str, schedule: str) -> None:
    timetable = dags[dag_id].timetable

    assert isinstance(timetable, CronTriggerTimetable)
    assert timetable.expression == schedule


def test_without_a_schedule_the_backlog_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line for line in ARTICLE.splitlines() if not line.startswith("schedule")]
    (tmp_path / "theirs.toml").write_text("\n".join(lines))
    monkeypatch.setenv("MILLRACE_PIPELINES", str(tmp_path))

    bag = load_dags()

    assert bag.import_errors == {}
    watched = {
        dag_id: [(asset.name, asset.watchers[0].trigger.serialize()[1]["step"]) for asset in assets if asset.watchers]
        for dag_id in ("theirs.train", "theirs.predict")
        for assets in [bag.dags[dag_id].timetable.asset_condition.objects]
    }
    assert watched == {
        "theirs.train": [("theirs.train.backlog", "train")],
        "theirs.predict": [("theirs.predict.backlog", "predict")],
    }


@pytest.mark.parametrize("dag_id", ["theirs.train", "theirs.predict"])
def test_the_first_task_checks_the_topics(dags: dict[str, DAG], dag_id: str) -> None:
    dag = dags[dag_id]

    assert dag.roots == [dag.get_task("ensure_topics")]
    assert dag.get_task("ensure_topics").downstream_task_ids == {"freeze_ranges"}
