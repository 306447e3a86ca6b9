"""`millrace ledger` shows what the ledger holds of a pipeline, and writes what a person decides."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from include.__main__ import app
from include.definition.files import load_pipeline
from include.exactly_once.ledger import LedgerKey
from include.exactly_once.snapshot import snapshot_ledger
from include.kafka.topics import ensure_topics
from tests.support.producers import Record, produce

ENTRY = {"topic_id": "an-id", "position": 3, "run": "one"}


@pytest.fixture
def pipeline(kafka, new_name, tmp_path, monkeypatch):
    monkeypatch.setenv("MILLRACE_PIPELINES", str(tmp_path))
    monkeypatch.setenv("MILLRACE_ENVIRONMENT", kafka.environment)
    name = new_name()
    (tmp_path / f"{name}.toml").write_text(
        'description = "test"\n[format]\nkind = "tensor.raw"\nshape = [4]\ndtype = "float32"\n'
        '[source]\nkind = "digits"\n[model]\nkind = "convnet"\n[training]\nlabels = ["a", "b", "c"]\n'
    )
    pipeline = load_pipeline(name)
    ensure_topics(kafka, pipeline.topic_specs())
    return pipeline


@pytest.fixture
def run(kafka, pipeline):
    def run(command, *arguments, **settings):
        parts = ["ledger", command, pipeline.name, *arguments, "--bootstrap-servers", kafka.bootstrap_servers]
        return CliRunner().invoke(app, parts, **settings)

    return run


def test_a_damaged_entry_is_shown_escaped_and_repaired_after_a_question(kafka, pipeline, run):
    scope = f"{pipeline.requests_topic}/0"
    key = LedgerKey(kafka.environment, pipeline.name, "predict", scope)
    hostile = [Record(key=key.encode(), value=b"\x1b[2Jno JSON")]
    produce(kafka, "millrace.ledger", hostile, partition=key.partition)

    shown = run("show")
    assert shown.exit_code == 1
    assert r"\x1b[2Jno JSON" in shown.output
    assert "\x1b[2J" not in shown.output
    assert "1 of them damaged" in shown.output

    repair = ("--step", "predict", "--scope", scope, "--reason", "restored")
    assert run("repair", *repair, "--value", '{"position": "3"}').exit_code == 1
    assert run("repair", *repair, "--value", json.dumps(ENTRY), input="n\n").exit_code == 0
    assert run("show").exit_code == 1
    assert run("repair", *repair, "--value", json.dumps(ENTRY), input="y\n").exit_code == 0

    assert snapshot_ledger(kafka, [key]) == {key: ENTRY}
    shown = run("show")
    assert shown.exit_code == 0
    assert "restored" in shown.output


def test_a_pipeline_without_signing_signs_nothing(run):
    refused = run("sign")
    assert refused.exit_code == 1
    assert "has no [signing]" in refused.output
