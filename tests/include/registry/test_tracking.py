"""MLflow's database: migrated by a command, refused where it was not, and then safe for many tasks at once."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from include.commands.registry import app
from include.errors import PermanentError
from include.registry.tracking import (
    NotMigrated,
    Registry,
    RegistryDenied,
    UnknownTracking,
    check_tracking,
    migrate,
    open_registry,
)
from include.registry.versions import champion
from include.storage.atomic import ASIDE
from include.storage.state import PROJECT_ROOT
from tests.support.assertions import assert_readable


def execute(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement).fetchall()


def test_a_database_that_was_never_made_is_refused_and_not_made(state: Path) -> None:
    with pytest.raises(NotMigrated) as refused:
        open_registry()
    assert_readable(refused.value, state / "mlflow" / "mlflow.db", "millrace registry migrate")
    assert not state.exists()


def test_an_empty_database_is_refused(state: Path) -> None:
    (state / "mlflow").mkdir(parents=True)
    (state / "mlflow" / "mlflow.db").touch()
    with pytest.raises(NotMigrated):
        check_tracking()


def test_a_database_of_another_version_is_refused(registry: Registry, state: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    (state / "mlflow" / "mlflow.db").rename(other)
    execute(other, "UPDATE alembic_version SET version_num = 'another'")
    with pytest.raises(NotMigrated) as refused:
        open_registry(f"sqlite:///{other}")
    assert_readable(refused.value, other, "millrace registry migrate")


def test_a_second_migration_keeps_what_is_there_and_a_copy_of_it(registry: Registry, state: Path) -> None:
    registry.client.create_experiment("kept")
    assert "is migrated" in migrate()
    assert open_registry().client.get_experiment_by_name("kept") is not None
    copy = state / "mlflow" / "mlflow.db.before-migration"
    assert execute(copy, "SELECT name FROM experiments WHERE name = 'kept'") == [("kept",)]


def test_the_command_migrates_although_an_earlier_one_was_killed(state: Path) -> None:
    (state / "mlflow").mkdir(parents=True)
    leftover = state / "mlflow" / f"{ASIDE}mlflow.db-{uuid4().hex}"
    leftover.write_bytes(b"half a database")
    ran = CliRunner().invoke(app, ["migrate"])
    assert ran.exit_code == 0, ran.output
    assert not leftover.exists()
    check_tracking()


def test_a_database_that_is_up_to_date_is_left_alone(registry: Registry, state: Path) -> None:
    migrate()
    copy = state / "mlflow" / "mlflow.db.before-migration"
    copy.unlink()
    assert "up to date" in migrate()
    assert not copy.exists()


def test_a_note_that_does_not_fit_the_database_is_not_believed(registry: Registry, state: Path) -> None:
    migrate()
    (state / "mlflow" / "mlflow.db.migrated").write_text("MLflow 3.0, revision another")
    assert "is migrated" in migrate()


SIX_TASKS = """
import multiprocessing, sys
import mlflow
from include.registry.runs import CURVES, open_run
from include.registry.tracking import open_registry
from include.training.job import TrainingJob

def task(job, name, begin):
    begin.wait()
    run = open_run(open_registry(), job.run_identity(name))
    run.log_epochs([{"epoch": epoch, **dict.fromkeys(CURVES, 1.0)} for epoch in range(1, 6)])
    run.end("FINISHED")

job = TrainingJob.model_validate_json(sys.stdin.read())
fork = multiprocessing.get_context("fork")
begin = fork.Barrier(6)
tasks = [fork.Process(target=task, args=(job, f"run-{number}", begin)) for number in range(6)]
for each in tasks:
    each.start()
for each in tasks:
    each.join()
sys.exit(any(each.exitcode for each in tasks))
"""


def test_six_processes_at_once_log_their_runs(registry: Registry, job) -> None:
    """On a fresh file that nobody had migrated all six failed, and the file was broken."""
    subprocess.run(
        [sys.executable, "-c", SIX_TASKS], cwd=PROJECT_ROOT, input=job.model_dump_json(), text=True, check=True
    )
    experiment = registry.client.get_experiment_by_name(job.pipeline)
    runs = registry.client.search_runs([experiment.experiment_id])
    assert sorted(run.info.run_name for run in runs) == [f"run-{number}" for number in range(6)]
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_a_server_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://user:secret@mlflow.example")
    check_tracking()
    said = migrate()
    assert "nothing was done" in said
    assert "secret" not in said


@pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/mlruns", "ftp://user:secret@host/x"])
def test_what_is_neither_server_nor_database_is_refused(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for refusing in (check_tracking, migrate, open_registry):
        with pytest.raises(UnknownTracking) as refused:
            refusing()
        assert_readable(refused.value, "MLFLOW_TRACKING_URI")
        assert "secret" not in str(refused.value)


@pytest.fixture
def server() -> Iterator[str]:
    """A server that asks for the login ann:a-secret and then knows no run."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = self.headers["Authorization"] == f"Basic {b64encode(b'ann:a-secret').decode()}"
            content = b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no run"}' if allowed else b"Unauthorized"
            self.send_response(404 if allowed else 401)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def test_a_refused_login_is_permanent_and_names_the_settings(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "another-secret")
    registry = open_registry(server)
    with pytest.raises(RegistryDenied) as refused:
        champion(registry, "model")
    assert isinstance(refused.value, PermanentError)
    assert_readable(refused.value, server, "401", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
    assert "another-secret" not in str(refused.value)

    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "a-secret")
    assert champion(registry, "model") is None
