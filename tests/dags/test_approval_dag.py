"""The training of a pipeline whose promotions a person approves."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from tests.support.dags import load_dags
from tests.support.external_topics import ARTICLE

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

RULES = '[promotion]\napproval = "person"\napprovers = ["ada", "grace"]\napproval_s = 7200\n'


def test_a_person_is_asked_between_the_comparison_and_the_promotion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs.toml").write_text(f"{ARTICLE}\n{RULES}")
    monkeypatch.setenv("MILLRACE_PIPELINES", str(tmp_path))

    bag = load_dags()

    assert bag.import_errors == {}
    train = bag.dags["theirs.train"]
    following = {task.task_id: task.downstream_task_ids for task in train.tasks}
    assert following["compare_models"] == {"approve_model"}
    assert following["approve_model"] == {"promote_model"}
    approve = train.get_task("approve_model")
    assert [user["id"] for user in approve.assigned_users] == ["ada", "grace"]
    assert approve.response_timeout == timedelta(hours=2)
    # The run outlives the wait.
    assert train.dagrun_timeout == timedelta(hours=14)
