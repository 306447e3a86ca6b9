"""The DAG that watches a served model, and what it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import AssetOrTimeSchedule

from tests.support.dags import load_dags
from tests.support.external_topics import ARTICLE

if TYPE_CHECKING:
    from pathlib import Path

BY_BACKLOG = "\n".join(line for line in ARTICLE.splitlines() if not line.startswith("schedule"))


@pytest.fixture
def dags_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def load(text: str) -> dict[str, Any]:
        (tmp_path / "theirs.toml").write_text(text)
        monkeypatch.setenv("MILLRACE_PIPELINES", str(tmp_path))
        bag = load_dags()
        assert bag.import_errors == {}
        return bag.dags

    return load


def assets(dag: Any) -> set[str]:
    return {asset.name for asset in dag.timetable.asset_condition.objects}


def test_it_runs_by_its_schedule_and_marks_its_asset(dags_of: Any) -> None:
    dags = dags_of(f'{ARTICLE}\n[watch]\nschedule = "7 * * * *"\n')

    watch = dags["theirs.watch"]
    assert watch.timetable.expression == "7 * * * *"
    (task,) = watch.tasks
    assert (task.task_id, [asset.name for asset in task.outlets]) == ("watch_model", ["theirs.watch"])
    assert dags["theirs.train"].timetable.expression == "0 2 * * *"


def test_a_pipeline_without_the_table_is_not_watched(dags_of: Any) -> None:
    assert "theirs.watch" not in dags_of(ARTICLE)


def test_a_figure_beyond_its_limit_starts_a_training_as_its_backlog_does(dags_of: Any) -> None:
    train = dags_of(f"{BY_BACKLOG}\n[watch]\nretrain = true\n")["theirs.train"]

    assert assets(train) == {"theirs.train.backlog", "theirs.watch"}


def test_a_training_with_a_schedule_keeps_it(dags_of: Any) -> None:
    train = dags_of(f"{ARTICLE}\n[watch]\nretrain = true\n")["theirs.train"]

    assert isinstance(train.timetable, AssetOrTimeSchedule)
    assert train.timetable.timetable.expression == "0 2 * * *"
    assert assets(train) == {"theirs.watch"}
