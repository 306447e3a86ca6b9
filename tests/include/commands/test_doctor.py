"""`millrace doctor`: what it finds on a real broker, what it says is broken, and that it shows no secret."""

from __future__ import annotations

from shutil import copy

import pytest
from typer.testing import CliRunner

from include.__main__ import app
from include.definition.files import PIPELINES, load_pipeline
from include.kafka.topics import ensure_topics
from tests.support.mlflow_database import put_database

CANARY = "canary-5d1f"


@pytest.fixture
def doctor(tmp_path, monkeypatch, new_name):
    """Runs the command with a state and an environment of its own, and a secret in each kind of variable."""
    monkeypatch.setenv("MILLRACE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("MILLRACE_ENVIRONMENT", new_name())
    monkeypatch.setenv("AIRFLOW_CONN_KAFKA_OTHER", f'{{"extra": {{"sasl.password": "{CANARY}"}}}}')
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", CANARY)
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", CANARY)

    def run(*arguments):
        return CliRunner().invoke(app, ["doctor", *arguments], env={"COLUMNS": "300"})

    return run


def test_a_healthy_installation_is_shown_whole_and_without_a_secret(kafka, doctor, tmp_path):
    put_database(tmp_path / "state")
    ensure_topics(kafka, load_pipeline("digits").topic_specs())
    shown = doctor("--bootstrap-servers", kafka.bootstrap_servers)

    assert shown.exit_code == 0, shown.output
    assert "Nothing is broken." in shown.stdout
    assert "champion of digits                     none yet" in shown.stdout
    assert "digits.requests" in shown.stdout
    assert "3 partitions x 1, retention.ms=604800000" in shown.stdout
    assert "digits waits for predict" in shown.stdout
    assert "AIRFLOW_CONN_KAFKA_OTHER               set" in shown.stdout
    assert CANARY not in shown.output


def test_each_part_that_is_broken_is_named_and_the_others_are_shown(doctor, pipelines, monkeypatch):
    monkeypatch.setattr("include.commands.kafka_access.TIMEOUT_S", 2.0)
    (pipelines / "wrong.toml").write_text("[format]\nkind = 'nothing'\n", encoding="utf-8")
    copy(PIPELINES / "digits.toml", pipelines)
    shown = doctor("--bootstrap-servers", "127.0.0.1:1")

    assert shown.exit_code == 1
    assert "Broken: Models, Kafka by kafka_default, Pipelines." in shown.stdout
    assert "run `millrace registry migrate` first" in shown.stdout
    assert "wrong                                  BROKEN" in shown.stdout
    assert "BROKEN BrokerUnavailable" in shown.stdout
    assert "confluent-kafka" in shown.stdout
