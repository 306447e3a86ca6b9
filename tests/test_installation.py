"""The project runs from its folders alone, as containers mount them, and as an installed command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

from include import __main__ as command_line
from include.storage.state import PROJECT_ROOT

PROJECT = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# As a dag processor does: Airflow puts its plugins folder on the path, and nothing else of the project.
LOAD = """
import json, os
import airflow
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
import include, millrace
print(json.dumps({"dags": sorted(bag.dags), "errors": bag.import_errors, "at": [include.__file__, millrace.__file__]}))
"""


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Copies of what compose mounts, in a place of their own."""
    for name in ("dags", "include", "plugins"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PROJECT_ROOT / name, tmp_path / "airflow" / name, ignore=ignored)
    return tmp_path / "airflow"


def run(folders: Path, *arguments: str) -> str:
    """Run Python where the project is not installed: under -S, no .pth file makes it importable."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MILLRACE_")} | {
        # The second entry stands for the image's packages; compose sets the first.
        "PYTHONPATH": os.pathsep.join([str(folders), sysconfig.get_path("purelib")]),
        "AIRFLOW_HOME": str(folders / "home"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(folders / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(folders / "plugins"),
    }
    done = subprocess.run(
        [sys.executable, "-S", *arguments],
        cwd=folders.parent,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout


@pytest.mark.long  # imports Airflow in another process
def test_airflow_loads_every_dag_from_the_folders_alone(folders: Path) -> None:
    found = json.loads(run(folders, "-c", LOAD).splitlines()[-1])

    assert found["errors"] == {}
    assert found["at"] == [str(folders / "include" / "__init__.py"), str(folders / "plugins/millrace/__init__.py")]
    assert {"digits.ingest", "languages.train", "spoken_digits.predict", "digits.replay"} <= set(found["dags"])


def test_the_command_line_runs_from_the_folders_alone(folders: Path) -> None:
    # Its version is known or not, as the packages' folder holds the metadata of an installation or doesn't.
    assert run(folders, "-m", "include", "--version").startswith("millrace ")


def test_the_version_is_that_of_the_installed_project(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command_line.metadata, "version", lambda name: {"millrace": "7.8.9"}[name])
    monkeypatch.setattr(sys, "argv", ["millrace", "--version"])

    with pytest.raises(SystemExit) as ended:
        command_line.main()

    assert (ended.value.code, capsys.readouterr().out) == (0, "millrace 7.8.9\n")


def test_without_an_installation_the_version_is_unknown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> str:
        raise command_line.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(command_line.metadata, "version", missing)
    monkeypatch.setattr(sys, "argv", ["millrace", "--version"])

    with pytest.raises(SystemExit) as ended:
        command_line.main()

    assert (ended.value.code, capsys.readouterr().out.startswith("millrace of an unknown version")) == (0, True)


def test_the_installed_command_is_the_command_line() -> None:
    (command,) = entry_points(group="console_scripts", name="millrace")

    assert command.load() is command_line.main
    assert version("millrace") == PROJECT["version"], "run `make install`"
