"""The connection to the test's broker, and pipelines for operators to execute."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from include.definition.files import PIPELINES, load_pipeline
from include.definition.pipeline import Pipeline
from include.kafka.connection import KafkaConnection

if TYPE_CHECKING:
    from include.local.broker import Cluster

NAMES = count()


@pytest.fixture
def kafka(broker: Cluster, monkeypatch: pytest.MonkeyPatch) -> KafkaConnection:
    """The broker, for the test itself and as Airflow's `kafka_default`."""
    settings = {"bootstrap.servers": broker.bootstrap_servers}
    monkeypatch.setenv("AIRFLOW_CONN_KAFKA_DEFAULT", json.dumps({"conn_type": "kafka", "extra": settings}))
    return KafkaConnection(settings, timeout_s=20)


@pytest.fixture
def new_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Pipeline]:
    """Writes a pipeline file with a name of its own, a copy of the bundled one; values replace those of its tables."""
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
