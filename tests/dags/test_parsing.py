"""Parsing is quick, imports nothing heavy, builds only the requested DAGs, and survives an invalid file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from include.definition.files import PIPELINES
from tests.support.dags import DAGS, load_dags
from tests.support.processes import run_python

FILES = sorted(path.name for path in DAGS.glob("*.py"))
HEAVY = ["torch", "confluent_kafka", "mlflow", "sklearn", "matplotlib", "pandas"]
# As a share of the CPU time of importing Airflow.
MAX_SHARE = 0.5

# A dag processor imports Airflow and forks for each file; this does the same.
PARSE = """
import json, os, sys, time
began = time.process_time()
import airflow.dag_processing.dagbag, airflow.sdk.bases.operator, airflow.sdk.definitions.asset
from airflow.sdk import DAG, BaseOperator, CronDataIntervalTimetable, Param, get_parsing_context
from airflow.sdk.exceptions import AirflowFailException
import airflow.sdk.observability.stats, pydantic
imported = time.process_time()
files, heavy = json.loads(sys.argv[1])
for file in files:
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0, file
        continue
    forked = time.process_time()
    namespace = {"__name__": "parsed", "__file__": file}
    exec(compile(open(file).read(), file, "exec"), namespace)
    share = (time.process_time() - forked) / (imported - began)
    found = [name for name in heavy if name in sys.modules]
    print(json.dumps({"file": os.path.basename(file), "share": share, "heavy": found}), flush=True)
    os._exit(0)
"""


@pytest.fixture(scope="module")
def parsed() -> dict[str, dict[str, Any]]:
    """What parsing costs, by the name of the file."""
    done = run_python("-c", PARSE, json.dumps([[str(DAGS / file) for file in FILES], HEAVY]))
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"file"')]
    return {line["file"]: line for line in lines}


@pytest.mark.parametrize("file", FILES)
def test_a_file_costs_little_beside_airflow_and_imports_nothing_heavy(
    file: str, parsed: dict[str, dict[str, Any]]
) -> None:
    assert parsed[file]["heavy"] == []
    assert parsed[file]["share"] < MAX_SHARE


@pytest.fixture
def pipelines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the bundled pipeline files, for a test to change."""
    folder = tmp_path / "pipelines"
    shutil.copytree(PIPELINES, folder)
    monkeypatch.setenv("MILLRACE_PIPELINES", str(folder))
    return folder


def test_an_invalid_file_is_reported_once_and_the_other_dags_load(pipelines: Path) -> None:
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


def test_valid_files_give_no_import_error(pipelines: Path) -> None:
    assert load_dags().import_errors == {}


def test_a_task_process_builds_only_its_own_dag(pipelines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = next(pipelines.glob("*.toml"))
    shutil.copy(good, pipelines / "second.toml")
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "second.train")

    assert sorted(load_dags().dags) == ["second.train"]


def test_a_pipeline_with_several_prediction_tasks_has_a_mapped_task(pipelines: Path) -> None:
    good = next(pipelines.glob("*.toml"))
    (pipelines / "divided.toml").write_text(f'{good.read_text()}\n[prediction]\ntasks = 3\npool = "gpu"\n')

    dags = load_dags().dags

    divided = dags["divided.predict"].get_task("publish_predictions")
    assert divided.is_mapped
    sets = divided.expand_input.value["ranges"]
    assert (sets.operator.task_id, sets.operator.divided, divided.pool) == ("freeze_ranges", True, "gpu")
    assert not dags[f"{good.stem}.predict"].get_task("publish_predictions").is_mapped
