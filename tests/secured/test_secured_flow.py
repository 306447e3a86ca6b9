"""From source to export on a secured broker, each step with a connection, a principal and rights of its own."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.testing import CliRunner

from include.__main__ import app
from include.definition.files import PIPELINES, load_pipeline
from include.definition.tables import WorkStep
from include.kafka.connection import KafkaConnection
from include.kafka.rights import Right
from include.local.broker import Cluster
from include.local.rights import grant
from millrace.operators import (
    EnsureTopicsOperator,
    ExportPredictionsOperator,
    FreezeRangesOperator,
    ProduceBatchOperator,
    PromoteModelOperator,
    PublishPredictionsOperator,
    TrainModelOperator,
    WatchModelOperator,
)
from tests.support.consumers import committed_records
from tests.support.kafka_acls import parse, rights_of
from tests.support.mlflow_database import put_database
from tests.support.operators import DagRun, context_of

NAME, ENVIRONMENT = "secured_digits", "blue"
STEPS: tuple[WorkStep, ...] = get_args(WorkStep)


@pytest.fixture
def pipeline_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The bundled digits, trained for a moment, with a connection for each step."""
    folder = tmp_path / "pipelines"
    folder.mkdir()
    text = (PIPELINES / "digits.toml").read_text()
    for key, value in {"records": 600, "epochs": 4, "learning_rate": 0.01, "min_new_samples": 1, "floor": 0.2}.items():
        text = "\n".join(f"{key} = {value}" if line.startswith(f"{key} =") else line for line in text.splitlines())
    connections = "\n".join(f'{step} = "kafka_{step}"' for step in STEPS)
    file = folder / f"{NAME}.toml"
    file.write_text(f'{text}\n[connections]\n{connections}\n[export]\npath = "{tmp_path / "export"}"\n[watch]\n')
    monkeypatch.setenv("MILLRACE_PIPELINES", str(folder))
    monkeypatch.setenv("MILLRACE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("MILLRACE_ENVIRONMENT", ENVIRONMENT)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    put_database(tmp_path / "state")
    return file


@pytest.fixture
def principals(pipeline_file: Path, secured_broker: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's connections of the steps, with the rights that `millrace acls` prints."""
    printed = CliRunner().invoke(app, ["acls", NAME])
    assert printed.exit_code == 0, printed.output
    granted: dict[str, set[Right]] = {step: set() for step in STEPS}
    for line in printed.stdout.splitlines():
        if not line.startswith("#"):
            program, *arguments = shlex.split(line)
            assert program == "kafka-acls"
            for user, rights in rights_of(parse(arguments)).items():
                granted[user].update(rights)
    grant(secured_broker.client_settings(), granted)
    for step in STEPS:
        extra = secured_broker.client_settings(step)
        monkeypatch.setenv(f"AIRFLOW_CONN_KAFKA_{step.upper()}", json.dumps({"conn_type": "kafka", "extra": extra}))
    monkeypatch.delenv("AIRFLOW_CONN_KAFKA_DEFAULT", raising=False)


def execute(operator: type, **arguments: Any) -> dict[str, Any]:
    result: dict[str, Any] = operator(task_id="t", pipeline=NAME, **arguments).execute(
        context_of(DagRun(f"{NAME}.{operator.__name__}", "run"))
    )
    return result


def test_the_whole_flow_runs_with_one_principal_for_each_step(
    principals: None, administrator: KafkaConnection, tmp_path: Path
) -> None:
    execute(EnsureTopicsOperator)
    sent = execute(ProduceBatchOperator)
    frozen = execute(FreezeRangesOperator, step="train")
    version = execute(TrainModelOperator, ranges=frozen["ranges"], start=frozen["start"])["version"]
    execute(PromoteModelOperator, version=version)
    frozen = execute(FreezeRangesOperator, step="predict")
    published = execute(PublishPredictionsOperator, ranges=frozen["ranges"])
    exported = execute(ExportPredictionsOperator)
    watched = execute(WatchModelOperator)

    topic = load_pipeline(NAME).predictions_topic
    assert topic == f"{ENVIRONMENT}.{NAME}.predictions"
    assert (
        sent["requests"]
        == published["predictions"]
        == exported["rows"]
        == watched["samples"]
        == len(committed_records(administrator, topic))
    )
