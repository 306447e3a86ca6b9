"""Registrations and promotions that are killed between any two steps, and retried: one version, one champion."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from include.artifact.model import load_model
from include.definition.tables import Promotion
from include.exactly_once.ledger import ledger_topic
from include.kafka.topics import ensure_topics
from include.registry.promotion import promote
from include.registry.runs import open_run
from include.registry.tracking import Registry, open_registry
from include.registry.versions import champion, download, register_version, version
from include.storage.state import PROJECT_ROOT
from tests.support.mlflow_database import put_database

if TYPE_CHECKING:
    from include.artifact.result import TrainingResult
    from include.kafka.connection import KafkaConnection
    from include.training.job import TrainingJob


@dataclass(frozen=True)
class Kill:
    """SIGKILL before or after the n-th call of one of MLflow's methods."""

    when: str
    method: str
    number: int = 1

    def __str__(self) -> str:
        return f"{self.when} {self.method} {self.number}"


REGISTRATIONS = [
    Kill("after", "create_run"),
    Kill("before", "log_artifact"),
    Kill("after", "log_artifact", 3),  # the card is stored, the weights are not
    Kill("after", "log_artifact", 4),
    Kill("after", "create_registered_model"),
    Kill("before", "create_model_version"),
    Kill("after", "create_model_version"),
]
PROMOTIONS = [Kill("before", "set_registered_model_alias"), Kill("after", "set_registered_model_alias")]

# One interpreter imports what takes long and forks a process for each kill.
KILLED = """
import json, os, signal, sys
import matplotlib.figure, torch
from mlflow import MlflowClient
from pathlib import Path
from include.definition.tables import Promotion
from include.kafka.connection import KafkaConnection
from include.registry.promotion import promote
from include.registry.runs import open_run
from include.registry.tracking import open_registry
from include.registry.versions import register_version, set_champion
from include.training.job import TrainingJob
from include.artifact.result import read_result

def kill(when, method, number):
    original, calls = getattr(MlflowClient, method), []
    def killing(*arguments, **keywords):
        calls.append(None)
        if when == "before" and len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = original(*arguments, **keywords)
        if when == "after" and len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer
    setattr(MlflowClient, method, killing)

def step(case):
    os.environ["MILLRACE_STATE"] = case["state"]
    registry = open_registry()
    register = lambda name: register_version(open_run(registry, job.run_identity(name)), results[name])
    if case["step"] == "register":
        kill(**case["kill"])
        register("good")
    else:
        set_champion(registry, register("bad"))
        made = register("good")
        kill(**case["kill"])
        # The cases run at once, and have one pipeline's name.
        kafka = KafkaConnection(**asked["connection"], environment=Path(case["state"]).parent.name)
        promote(kafka, registry, made.name, made.number, Promotion(floor=0))

asked = json.load(sys.stdin)
job = TrainingJob.model_validate(asked["job"])
results = {name: read_result(Path(folder), job.digest) for name, folder in asked["results"].items()}
children = []
for case in asked["cases"]:
    children.append(os.fork())
    if not children[-1]:
        try:
            step(case)
        finally:
            os._exit(1)
print(*(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children))
"""


@pytest.fixture(scope="module")
def killed(
    kafka: KafkaConnection,
    job: TrainingJob,
    good: TrainingResult,
    bad: TrainingResult,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[Kill, Path]:
    """The state folder that each kill has left."""
    states = {kill: tmp_path_factory.mktemp("killed") / "state" for kill in (*REGISTRATIONS, *PROMOTIONS)}
    for state in states.values():
        put_database(state)
        ensure_topics(kafka, [ledger_topic(environment=state.parent.name)])
    cases = [
        {"step": "register" if kill in REGISTRATIONS else "promote", "state": str(state), "kill": asdict(kill)}
        for kill, state in states.items()
    ]
    results = {name: str(result.model_directory.parent.parent) for name, result in (("good", good), ("bad", bad))}
    asked = {
        "job": job.model_dump(mode="json"),
        "results": results,
        "connection": {"settings": dict(kafka.settings), "timeout_s": 10},
        "cases": cases,
    }
    ran = subprocess.run(
        [sys.executable, "-c", KILLED],
        cwd=PROJECT_ROOT,
        input=json.dumps(asked),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert [int(line) for line in ran.stdout.split()] == [-signal.SIGKILL] * len(cases), "a step was not killed"
    return states


@pytest.fixture
def after(killed: dict[Kill, Path], monkeypatch: pytest.MonkeyPatch) -> Callable[[Kill], Registry]:
    """The registry as a kill has left it."""

    def opened(kill: Kill) -> Registry:
        monkeypatch.setenv("MILLRACE_STATE", str(killed[kill]))
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return open_registry()

    return opened


@pytest.mark.parametrize("kill", REGISTRATIONS, ids=str)
def test_a_version_is_complete_or_absent_and_its_retry_registers_once(
    kill: Kill, after: Callable[[Kill], Registry], job: TrainingJob, good: TrainingResult
) -> None:
    registry = after(kill)
    there = registry.client.search_model_versions(f"name = '{job.pipeline}'")
    assert len(there) == (kill == Kill("after", "create_model_version"))
    for item in there:
        load_model(download(registry, version(registry, job.pipeline, int(item.version))), good.digest)

    made = register_version(open_run(registry, job.run_identity("good")), good)
    load_model(download(registry, made), good.digest)
    assert made.number == 1
    assert len(registry.client.search_model_versions(f"name = '{job.pipeline}'")) == 1
    assert champion(registry, job.pipeline) is None


@pytest.mark.parametrize("kill", PROMOTIONS, ids=str)
def test_the_alias_moves_last_and_the_retry_promotes_once(
    kill: Kill, after: Callable[[Kill], Registry], kafka: KafkaConnection, job: TrainingJob
) -> None:
    registry = after(kill)
    holder = champion(registry, job.pipeline)
    assert holder is not None
    assert holder.number == (1 if kill.when == "before" else 2)

    decision = promote(kafka, registry, job.pipeline, 2, Promotion(floor=0))
    assert decision.promoted
    assert champion(registry, job.pipeline) == version(registry, job.pipeline, 2)
