"""Parsing is quick, imports nothing heavy, builds only what is asked for, and survives an invalid file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from include.definition.files import PIPELINES
from include.storage.state import PROJECT_ROOT
from tests.support.dags import DAGS, load_dags

FILES = sorted(path.name for path in DAGS.glob("*.py"))
HEAVY = ["torch", "confluent_kafka", "mlflow", "sklearn", "matplotlib", "pandas"]
# Of the processor's time that importing Airflow takes.
LARGEST_SHARE = 0.5

# Airflow itself is imported first, as in a dag processor, which forks after it has.
PARSE = """
import json, sys, time
began = time.process_time()
import airflow.dag_processing.dagbag, airflow.sdk.bases.operator, airflow.sdk.definitions.asset
from airflow.sdk import DAG, BaseOperator, CronDataIntervalTimetable, Param, get_parsing_context
from airflow.sdk.exceptions import AirflowFailException
import airflow.sdk.observability.stats, pydantic
imported = time.process_time()
source = open(sys.argv[1]).read()
namespace = {"__name__": "parsed", "__file__": sys.argv[1]}
exec(compile(source, sys.argv[1], "exec"), namespace)
parsed = time.process_time()
heavy = [name for name in sys.argv[2:] if name in sys.modules]
print(json.dumps({"share": (parsed - imported) / (imported - began), "heavy": heavy}))
"""


def parse(file: str) -> dict[str, object]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PROJECT_ROOT), str(PROJECT_ROOT / "plugins")])}
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(DAGS / file), *HEAVY],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    answer: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.mark.parametrize("file", FILES)
def test_a_file_costs_little_beside_airflow_and_imports_nothing_heavy(file: str) -> None:
    parsed = parse(file)

    assert parsed["heavy"] == []
    assert float(str(parsed["share"])) < LARGEST_SHARE


@pytest.fixture
def pipelines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of pipeline files to spoil."""
    folder = tmp_path / "pipelines"
    shutil.copytree(PIPELINES, folder)
    monkeypatch.setenv("MILLRACE_PIPELINES", str(folder))
    return folder


def test_an_invalid_file_leaves_the_other_dags_loaded_and_is_told_in_one_place(pipelines: Path) -> None:
    good = next(pipelines.glob("*.toml"))
    text = good.read_text()
    (pipelines / "broken.toml").write_text(text.replace("epochs = ", "epochs = -"))
    (pipelines / "not_toml.toml").write_text("description = ")

    bag = load_dags()

    assert f"{good.stem}.train" in bag.dags
    assert not [dag_id for dag_id in bag.dags if dag_id.startswith(("broken.", "not_toml."))]
    assert [Path(path).name for path in bag.import_errors] == ["invalid_pipelines.py"]
    (message,) = bag.import_errors.values()
    assert "broken.toml" in message
    assert "training.epochs = -" in message
    assert "greater than or equal to 1" in message
    assert "not_toml.toml" in message


def test_without_invalid_files_nothing_is_told(pipelines: Path) -> None:
    assert load_dags().import_errors == {}


def test_a_task_process_builds_only_the_dag_it_asks_for(pipelines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = next(pipelines.glob("*.toml"))
    shutil.copy(good, pipelines / "second.toml")
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "second.train")

    assert sorted(load_dags().dags) == ["second.train"]


def test_a_pipeline_that_wants_tasks_for_its_predictions_gets_them(pipelines: Path) -> None:
    good = next(pipelines.glob("*.toml"))
    (pipelines / "divided.toml").write_text(f"{good.read_text()}\n[prediction]\ntasks = 3\n")

    dags = load_dags().dags

    divided = dags["divided.predict"].get_task("publish_predictions")
    assert divided.is_mapped
    assert (divided.partial_kwargs["parts"], divided.expand_input.value) == (3, {"part": [0, 1, 2]})
    assert not dags[f"{good.stem}.predict"].get_task("publish_predictions").is_mapped
