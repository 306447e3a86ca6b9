"""Operators outside Airflow's task process: a context to execute in, and the connection to the test's broker."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.execution_time.context import OutletEventAccessors

from include.definition.files import PIPELINES, load_pipeline
from include.definition.pipeline import Pipeline
from include.kafka.connection import KafkaConnection

if TYPE_CHECKING:
    from include.local.broker import Cluster

NAMES = count()


@dataclass
class Run:
    """What the operators look at in a DAG run."""

    dag_id: str
    run_id: str
    run_type: str = "manual"
    data_interval_start: datetime | None = None
    run_after: datetime = field(default_factory=lambda: datetime(2026, 1, 2, tzinfo=UTC))


def context_of(run: Run) -> Any:
    return {"dag_run": run, "outlet_events": OutletEventAccessors()}


@pytest.fixture
def kafka(broker: Cluster, monkeypatch: pytest.MonkeyPatch) -> KafkaConnection:
    """The broker, for the test itself and as Airflow's `kafka_default`."""
    settings = {"bootstrap.servers": broker.bootstrap_servers}
    monkeypatch.setenv("AIRFLOW_CONN_KAFKA_DEFAULT", json.dumps({"conn_type": "kafka", "extra": settings}))
    return KafkaConnection(settings, timeout_s=20)


@pytest.fixture
def new_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Pipeline]:
    """Makes a pipeline file of a name of its own from the bundled one; values replace those of its tables."""
    folder = tmp_path / "pipelines"
    folder.mkdir()
    monkeypatch.setenv("MILLRACE_PIPELINES", str(folder))
    monkeypatch.setenv("MILLRACE_STATE", str(tmp_path / "state"))

    def make(**replaced: str) -> Pipeline:
        name = f"pipeline_{next(NAMES)}"
        lines = (PIPELINES / "digits.toml").read_text().splitlines()
        for key, value in replaced.items():
            lines = [f"{key} = {value}" if line.startswith(f"{key} =") else line for line in lines]
        (folder / f"{name}.toml").write_text("\n".join(lines))
        return load_pipeline(name)

    return make
