"""What the demonstration takes for success."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from include.definition.files import PIPELINES
from include.local.audit import Audit
from include.local.demo import PipelineResult, demo_pipelines
from include.local.display import print_summary
from include.local.errors import StackError
from include.local.runs import Run
from include.registry.versions import Version
from tests.support.tiny_pipelines import tiny_pipeline

CHAMPION = Version(
    name="tiny",
    number=1,
    run_id="0" * 32,
    digest="1" * 64,
    manifest_id="2" * 16,
    job="3" * 64,
    metric="accuracy",
    score=0.99,
)
INGESTED = Run("tiny.ingest", "one", "manual", "success", None, None, ())
PROVEN = PipelineResult(tiny_pipeline("tiny"), Audit(samples=8, requests=2, predictions=2), CHAMPION, (INGESTED,))


def test_all_of_it_is_success():
    assert PROVEN.shortcomings() == []


@pytest.mark.parametrize(
    ("result", "said"),
    [
        pytest.param(replace(PROVEN, runs=()), "No run of tiny.ingest has succeeded", id="nothing ran"),
        pytest.param(
            replace(PROVEN, runs=(replace(INGESTED, state="failed"),)), "No run of tiny.ingest", id="the run failed"
        ),
        pytest.param(
            replace(PROVEN, runs=(replace(INGESTED, dag_id="tiny.train"),)), "No run of tiny.ingest", id="another ran"
        ),
        pytest.param(replace(PROVEN, topics=Audit()), "no records in tiny.samples", id="empty topics"),
        pytest.param(replace(PROVEN, champion=None), "No model of tiny has been promoted", id="no champion"),
        pytest.param(
            replace(PROVEN, topics=replace(PROVEN.topics, missing=("tiny.requests/0/1",))),
            "1 of 2 requests have neither",
            id="a request without a result",
        ),
        pytest.param(
            replace(PROVEN, topics=replace(PROVEN.topics, doubled=("tiny.requests/0/1",))),
            "1 of 2 requests have more than one",
            id="a request with two",
        ),
    ],
)
def test_each_thing_that_is_not_so_is_said(result, said):
    [sentence] = result.shortcomings()
    assert said in sentence


def test_the_summary_has_a_row_for_each_pipeline():
    lacking = replace(PROVEN, pipeline=tiny_pipeline("other"), topics=replace(PROVEN.topics, missing=("x",)))
    console = Console(width=80, record=True, file=StringIO())

    print_summary(console, [replace(PROVEN, seconds=36.2), replace(lacking, champion=None)])

    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in console.export_text().splitlines()]
    assert ["tiny", "8", "accuracy 0.9900", "2", "each once", "36.2"] in rows
    assert ["other", "8", "no model", "2", "NOT each once", "0.0"] in rows


def with_pipelines(monkeypatch: pytest.MonkeyPatch, folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("MILLRACE_PIPELINES", str(folder))


VALID = (PIPELINES / "digits.toml").read_text(encoding="utf-8")


def test_every_valid_pipeline_is_shown_and_an_invalid_one_is_named(monkeypatch, tmp_path):
    with_pipelines(monkeypatch, tmp_path, one=VALID, two=VALID, wrong="description = 3")
    shown, left_out = demo_pipelines()
    assert [pipeline.name for pipeline in shown] == ["one", "two"]
    assert ["wrong.toml" in sentence for sentence in left_out] == [True]


def test_a_pipeline_on_another_cluster_is_left_out_and_named(monkeypatch, tmp_path):
    with_pipelines(monkeypatch, tmp_path, one=VALID, far=f'connection = "kafka_far"\n{VALID}')
    shown, left_out = demo_pipelines()
    assert [pipeline.name for pipeline in shown] == ["one"]
    assert ["far" in sentence and "kafka_far" in sentence for sentence in left_out] == [True]


def test_no_pipeline_at_all_is_no_success(monkeypatch, tmp_path):
    with_pipelines(monkeypatch, tmp_path, wrong="description = 3")
    with pytest.raises(StackError, match=r"wrong\.toml"):
        demo_pipelines()
