"""`millrace backlog` on a real broker."""

from __future__ import annotations

import time

import pytest
from typer.testing import CliRunner

from include.__main__ import app
from include.definition.files import load_pipeline
from include.kafka.topics import ensure_topics
from tests.support.administrator import recreate_topic
from tests.support.publishing import ask, publish, request
from tests.support.tiny_pipelines import tiny_predictor

FILE = """description = "test"
[topics]
partitions = 1
[format]
kind = "tensor.raw"
shape = [4]
dtype = "float32"
[source]
kind = "digits"
[model]
kind = "convnet"
[training]
labels = ["a", "b", "c"]
"""


@pytest.fixture
def pipeline(kafka, new_name, tmp_path, monkeypatch):
    monkeypatch.setenv("MILLRACE_PIPELINES", str(tmp_path))
    monkeypatch.setenv("MILLRACE_ENVIRONMENT", kafka.environment)
    name = new_name()
    (tmp_path / f"{name}.toml").write_text(FILE)
    return load_pipeline(name)


@pytest.fixture
def backlog(kafka):
    def run(*names):
        arguments = ["backlog", *names, "--bootstrap-servers", kafka.bootstrap_servers]
        return CliRunner().invoke(app, arguments, env={"COLUMNS": "120"})

    return run


def rows(result):
    lines = [line.strip("│ ").split("│") for line in result.stdout.splitlines() if line.startswith("│")]
    return {cells[1].strip(): [cell.strip() for cell in cells[2:]] for cells in lines}


def test_it_shows_what_waits_and_when_a_run_begins(kafka, pipeline, backlog):
    ensure_topics(kafka, pipeline.topic_specs())
    ten_minutes_ago = int(time.time() - 600) * 1000
    ask(kafka, pipeline, request(0, timestamp_ms=ten_minutes_ago), request(1))

    result = backlog()

    assert result.exit_code == 0, result.output
    assert rows(result) == {
        "train": ["0", "", "when 1,000 wait"],
        "predict": ["2", "10 min", "when 1 waits"],
    }


def test_before_the_first_ingest_there_is_nothing(pipeline, backlog):
    result = backlog(pipeline.name)

    assert result.exit_code == 0, result.output
    assert rows(result)["predict"][0] == "no topic yet"


def test_a_backlog_that_cannot_be_read_is_said_and_fails(kafka, pipeline, backlog):
    ensure_topics(kafka, pipeline.topic_specs())
    publish(kafka, pipeline, ask(kafka, pipeline, request(0)), tiny_predictor())
    recreate_topic(kafka, pipeline.requests_topic)

    result = backlog(pipeline.name)

    assert result.exit_code == 1
    assert f"{pipeline.name} predict: Topic {pipeline.requests_topic} has id" in result.stderr
    assert rows(result)["predict"][0] == "unknown"
