"""The secrets of docker-compose.yaml: who writes them, and which service has which."""

from __future__ import annotations

import json
import re
import stat
from base64 import urlsafe_b64decode
from pathlib import Path

import pytest
from typer.testing import CliRunner

from include.__main__ import app
from include.commands import compose_secrets
from include.local.compose import IncompleteSecrets, write_secrets
from tests.support.compose_file import (
    AIRFLOW,
    COMPOSE,
    EXAMPLE,
    NODES,
    ROOT,
    SECRETS,
    SERVICES,
)


def test_the_command_writes_every_secret_for_its_owner_only(project: Path) -> None:
    folder = project / "secrets"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in [*folder.iterdir(), project / ".env"]} == {0o600}
    assert len({path.stat().st_uid for path in [folder, *folder.iterdir()]}) == 1
    mounted = {name: f"./secrets/{name}" for name in {path.name for path in folder.iterdir()}}
    # For people on this machine.
    del mounted["host-connection.json"]
    assert {name: secret["file"] for name, secret in COMPOSE["secrets"].items()} == mounted


def test_the_containers_run_as_the_owner_of_the_secrets(project: Path) -> None:
    owner = (project / "secrets" / "postgres.pem").stat().st_uid
    assert owner != 0
    assert (project / ".env").read_text() == EXAMPLE.replace("MILLRACE_UID=\n", f"MILLRACE_UID={owner}\n")


def test_no_two_secrets_are_alike(project: Path) -> None:
    keys = [
        "postgres-password",
        "airflow-fernet-key",
        "airflow-jwt-secret",
        "airflow-api-secret-key",
        "mlflow-session-key",
    ]
    texts = [(project / "secrets" / name).read_text() for name in keys]
    passwords = [
        (project / "secrets" / name).read_text().strip().split(":")[-1] for name in ("airflow.pgpass", "mlflow.pgpass")
    ]
    assert len({*texts, *passwords}) == len(keys) + 2
    assert min(map(len, [*texts, *passwords])) >= 43
    assert len(urlsafe_b64decode(texts[1])) == 32
    # HS512, which Airflow signs with, wants a key of 64 bytes.
    assert min(len(text) for text in texts[2:4]) >= 64


def test_another_run_changes_nothing(project: Path) -> None:
    before_it = {path: path.read_bytes() for path in (project / "secrets").iterdir()}
    assert write_secrets(project) == []
    assert {path: path.read_bytes() for path in (project / "secrets").iterdir()} == before_it


def test_a_deleted_secret_is_renewed_with_those_that_must_fit_it(tmp_path: Path) -> None:
    (tmp_path / ".env.example").write_text(EXAMPLE)
    write_secrets(tmp_path)
    credentials, settings = tmp_path / "secrets" / "mlflow-credentials", tmp_path / "secrets" / "mlflow-auth.ini"
    old = credentials.read_text()
    credentials.unlink()
    with pytest.raises(IncompleteSecrets, match=r"lacks mlflow-credentials.*delete mlflow-auth\.ini too"):
        write_secrets(tmp_path)
    settings.unlink()
    assert sorted(write_secrets(tmp_path)) == [settings, credentials]
    assert credentials.read_text() != old


def test_an_env_file_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env.example").write_text(EXAMPLE)
    (tmp_path / ".env").write_text("MILLRACE_UID=4711\n")
    with pytest.raises(IncompleteSecrets, match=r"MILLRACE_UID=4711, .* write MILLRACE_UID="):
        write_secrets(tmp_path)


def test_the_command_says_what_it_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compose_secrets, "PROJECT_ROOT", tmp_path)
    (tmp_path / ".env.example").write_text(EXAMPLE)
    first, second = (CliRunner().invoke(app, ["compose-secrets"]) for _ in range(2))
    assert first.exit_code == second.exit_code == 0
    assert f"{len(COMPOSE['secrets']) + 2} files are new in {tmp_path}: .env, ca.crt, " in first.stderr
    assert "nothing was written" in second.stderr
    passwords = json.loads((tmp_path / "secrets" / "airflow-admin.json").read_text()).values()
    assert [password for password in passwords if password in first.output] == []


def test_git_ignores_the_secrets() -> None:
    assert {"/secrets/", ".env"} <= set((ROOT / ".gitignore").read_text().splitlines())


@pytest.mark.parametrize(
    ("secret", "holders"),
    [
        ("airflow-jwt-secret", {"airflow-api-server", "airflow-scheduler"}),
        ("airflow-api-secret-key", {"airflow-api-server", "airflow-scheduler", "airflow-triggerer"}),
        ("airflow-admin.json", {"airflow-api-server"}),
        ("airflow-connections.json", {"airflow-scheduler", "airflow-triggerer"}),
        ("airflow-fernet-key", {*AIRFLOW}),
        ("airflow.pgpass", {*AIRFLOW, "postgres"}),
        ("mlflow.pgpass", {"mlflow", "mlflow-migrate", "postgres"}),
        ("mlflow-auth.ini", {"mlflow"}),
        ("mlflow-session-key", {"mlflow"}),
        ("mlflow-credentials", {"airflow-scheduler"}),
        ("postgres-password", {"postgres"}),
        ("postgres.pem", {"postgres"}),
        ("kafka-1.pem", {"kafka-1"}),
        ("kafka-2.pem", {"kafka-2"}),
        ("kafka-3.pem", {"kafka-3"}),
        ("kafka-broker.properties", {*NODES}),
        ("kafka-admin.properties", {*NODES, "kafka-users"}),
        ("kafka-airflow.properties", {"kafka-users"}),
    ],
)
def test_a_secret_is_mounted_where_it_is_used_only(secret: str, holders: set[str]) -> None:
    assert {service for service, secrets in SECRETS.items() if secret in secrets} == holders


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_the_secrets_that_its_settings_name(service: str) -> None:
    named = set(re.findall(r"/run/secrets/[\w.-]+", json.dumps(SERVICES[service])))
    assert named <= set(SECRETS[service].values())


@pytest.mark.parametrize("name", ["airflow-connections.json", "kafka-admin.properties", "mlflow-auth.ini"])
def test_a_secret_names_mounted_files_only(project: Path, name: str) -> None:
    named = set(re.findall(r"/run/secrets/[\w.-]+", (project / "secrets" / name).read_text()))
    for service, secrets in SECRETS.items():
        assert name not in secrets or named <= set(secrets.values()), service


@pytest.mark.parametrize("name", COMPOSE["configs"])
def test_a_mounted_file_exists_and_is_used(name: str) -> None:
    """Compose writes no content of its own into a read-only container."""
    assert set(COMPOSE["configs"][name]) == {"file"}
    assert (ROOT / COMPOSE["configs"][name]["file"]).is_file()
    assert any(mount["source"] == name for service in SERVICES.values() for mount in service.get("configs", []))
