"""Every DAG raises an alert when a run fails, and one that may take too long has a deadline."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from millrace.alerts import alert_failed_run
from tests.support.dags import load_dags
from tests.support.external_topics import ARTICLE

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_failed_run_of_any_dag_is_told_and_a_deadline_is_that_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs.toml").write_text(f"{ARTICLE}\n[alerts]\ntrain_s = 7200\n")
    monkeypatch.setenv("MILLRACE_PIPELINES", str(tmp_path))

    dags = load_dags().dags

    assert {dag.on_failure_callback for dag in dags.values()} == {alert_failed_run}
    (deadline,) = dags["theirs.train"].deadline
    assert deadline.interval == timedelta(hours=2)
    assert deadline.callback.kwargs == {"pipeline": "theirs", "seconds": 7200}
    assert not dags["theirs.predict"].deadline
