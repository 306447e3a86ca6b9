"""docker-compose.yaml and its files, compared with the programs that they configure; no container engine is needed."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from base64 import urlsafe_b64decode
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from include.local.broker.jars import read_lock, verified_classpath
from include.local.broker.java import find_java

if TYPE_CHECKING:
    from include.local.broker import Cluster

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docker-compose.yaml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()
SETTINGS = dict(re.findall(r"^(\w+)=(.*)$", EXAMPLE, re.MULTILINE))
# ${NAME}, ${NAME:-default} or ${NAME:?message}; Compose ignores those in comments.
VARIABLES = re.findall(r"\$\{(\w+)(?::([-?])([^}]*))?\}", re.sub(r"^\s*#.*$", "", TEXT, flags=re.MULTILINE))
SECRETS = {
    "POSTGRES_PASSWORD",
    "AIRFLOW_ADMIN_PASSWORD",
    "AIRFLOW_FERNET_KEY",
    "AIRFLOW_JWT_SECRET",
    "AIRFLOW_API_SECRET_KEY",
}
CHECKS = {name: service["healthcheck"]["test"] for name, service in SERVICES.items() if "healthcheck" in service}
AIRFLOW = {name: service for name, service in SERVICES.items() if name.startswith("airflow-")}
SERVERS = ["airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer"]
JOBS = ["airflow-migrate", "mlflow-migrate"]
WAITS = [
    (name, other, wait["condition"])
    for name, service in SERVICES.items()
    for other, wait in service.get("depends_on", {}).items()
]
MOUNTS = [(name, *mount.split(":")[:2]) for name, service in SERVICES.items() for mount in service.get("volumes", [])]
BINDS = sorted({source for _, source, _ in MOUNTS if source.startswith(".")})
VOLUMES = sorted({(source, target) for _, source, target in MOUNTS if not source.startswith(".")})


def pinned(package: str) -> str:
    """The version that requirements.txt pins."""
    versions: list[str] = re.findall(rf"^{package}==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    return versions[0]


def filled(value: str) -> str:
    """A value as a container gets it with .env.example as .env, and `secret` for its empty values."""
    value = re.sub(r"\$\{(\w+)[^}]*\}", lambda match: SETTINGS[match[1]] or "secret", value)
    return value.replace("$$", "$")


def environment(service: str) -> dict[str, str]:
    """A service's environment as its container gets it."""
    return {name: filled(value) for name, value in SERVICES[service]["environment"].items()}


def before(service: str) -> set[str]:
    """All services that a service waits for, directly or indirectly."""
    direct = {other for name, other, _ in WAITS if name == service}
    return direct.union(*(before(other) for other in direct))


def entries(value: str) -> dict[str, str]:
    """`NAME://address` pairs of a list of Kafka listeners."""
    return dict(entry.split("://") for entry in value.split(","))


# ---- the file itself


def test_it_follows_the_compose_specification() -> None:
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        "docker-compose.yaml",
    ]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("path", BINDS)
def test_what_is_mounted_from_the_project_exists(path: str) -> None:
    assert (ROOT / path).is_dir()


@pytest.mark.parametrize(("volume", "target"), VOLUMES)
def test_named_volumes_are_declared(volume: str, target: str) -> None:
    assert volume in COMPOSE["volumes"], target


@pytest.mark.parametrize(
    "target", [t for _, t in VOLUMES if t.startswith("/opt/airflow/") and t != "/opt/airflow/logs"]
)
def test_the_image_has_the_folder_that_a_volume_covers(target: str) -> None:
    """Without it Docker makes it root's, and the airflow user can't write; logs/ comes with the official image."""
    folders = re.findall(r"^RUN mkdir --parents (.*)$", DOCKERFILE, re.MULTILINE)[0].split()
    assert target in folders


@pytest.mark.parametrize(("service", "port"), [(n, p) for n, s in SERVICES.items() for p in s.get("ports", [])])
def test_ports_are_published_to_this_machine_only(service: str, port: str) -> None:
    assert port.startswith("127.0.0.1:"), service


# ---- .env


def test_the_example_explains_the_variables_that_are_used_and_no_others() -> None:
    assert SETTINGS.keys() == {name for name, _, _ in VARIABLES}


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_a_secret_is_required_and_not_in_the_example(name: str) -> None:
    assert SETTINGS[name] == ""
    assert any(used == name and kind == "?" and ".env.example" in message for used, kind, message in VARIABLES)


@pytest.mark.parametrize(("name", "default"), [(n, text) for n, kind, text in VARIABLES if kind == "-"])
def test_the_example_shows_the_default_of_a_setting(name: str, default: str) -> None:
    assert name not in SECRETS
    assert SETTINGS[name] == default


def test_the_examples_own_line_fills_every_secret(tmp_path: Path) -> None:
    (tmp_path / ".env.example").write_text(EXAMPLE)
    line = next(line for line in EXAMPLE.splitlines() if line.startswith("#   (umask")).removeprefix("#   ")
    line = line.replace("python3", sys.executable)
    subprocess.run(["sh", "-c", line], cwd=tmp_path, check=True, timeout=60)
    made = (tmp_path / ".env").read_text()
    values = dict(re.findall(r"^(\w+)=(.*)$", made, re.MULTILINE))
    assert values.keys() == SETTINGS.keys()
    assert len({values[name] for name in SECRETS}) == len(SECRETS)
    assert len(urlsafe_b64decode(values["AIRFLOW_FERNET_KEY"])) == 32
    # HS512, which Airflow signs with, wants a key of 64 bytes.
    assert min(len(values[name]) for name in ("AIRFLOW_JWT_SECRET", "AIRFLOW_API_SECRET_KEY")) >= 64
    assert re.fullmatch(r"[\w-]+", values["POSTGRES_PASSWORD"])
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    again = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, check=False, timeout=60)
    assert again.returncode != 0
    assert (tmp_path / ".env").read_text() == made


def test_the_admins_password_is_known_to_the_migrate_job_only() -> None:
    assert [name for name, service in SERVICES.items() if "AIRFLOW_ADMIN_PASSWORD" in service["environment"]] == [
        "airflow-migrate"
    ]
    assert {name for name, source, _ in MOUNTS if source == "airflow-login"} == {
        "airflow-migrate",
        "airflow-api-server",
    }


def test_the_image_is_the_pinned_airflow() -> None:
    tags = re.findall(r"^FROM apache/airflow:(\S+)$", DOCKERFILE, re.MULTILINE)
    assert tags == [f"{pinned('apache-airflow')}-python3.11"]


@pytest.mark.parametrize("service", [*AIRFLOW, "mlflow", "mlflow-migrate"])
def test_one_image_serves_airflow_and_mlflow(service: str) -> None:
    assert SERVICES[service]["image"] == f"millrace-airflow:{pinned('apache-airflow')}"
    assert SERVICES[service]["build"]["context"] == "."


def test_kafka_is_the_version_of_the_embedded_broker() -> None:
    locked = next(jar.version for jar in read_lock() if jar.artifact.startswith("kafka_"))
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{locked}"


def test_the_builder_gets_exactly_what_the_image_copies() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    copied = re.findall(r"^COPY (.*) \S+$", DOCKERFILE, re.MULTILINE)[0].split()
    assert rules == ["*", *(f"!{path}" for path in copied)]
    assert all((ROOT / path).is_file() for path in copied)


@pytest.mark.parametrize(("service", "other", "condition"), WAITS)
def test_what_is_waited_for_can_be_reached(service: str, other: str, condition: str) -> None:
    if condition == "service_completed_successfully":
        assert other in JOBS, f"{service} waits for the end of {other}, which never ends"
        assert SERVICES[other]["restart"] == "no"
    else:
        assert condition == "service_healthy"
        assert other in CHECKS, f"{service} waits for {other}, which has no healthcheck"


@pytest.mark.parametrize("service", [*SERVERS, "kafka", "postgres", "mlflow"])
def test_a_server_is_watched_and_restarted(service: str) -> None:
    assert service in CHECKS
    assert SERVICES[service]["restart"] == "unless-stopped"


@pytest.mark.parametrize(
    ("service", "first"),
    [
        *((server, "airflow-migrate") for server in SERVERS),
        *((server, "postgres") for server in SERVERS),
        ("mlflow", "mlflow-migrate"),
        ("airflow-scheduler", "mlflow-migrate"),
        ("airflow-scheduler", "airflow-api-server"),
        ("airflow-scheduler", "kafka"),
        ("airflow-triggerer", "kafka"),
    ],
)
def test_a_service_starts_after_what_it_needs(service: str, first: str) -> None:
    assert first in before(service)


# ---- Airflow


@pytest.mark.parametrize(
    "variable", sorted({v for s in AIRFLOW.values() for v in s["environment"] if v.startswith("AIRFLOW__")})
)
def test_airflow_knows_every_option(variable: str) -> None:
    from airflow.configuration import conf

    section, option = variable.removeprefix("AIRFLOW__").lower().split("__")
    assert option in conf.configuration_description[section]["options"]


@pytest.mark.parametrize(
    "command",
    [
        *(SERVICES[server]["command"] for server in SERVERS),
        *(check[2:] for check in CHECKS.values() if check[1] == "airflow"),
        *re.findall(r"^\s*airflow (.*)$", SERVICES["airflow-migrate"]["command"][-1], re.MULTILINE),
    ],
    ids=str,
)
def test_airflow_knows_every_command(command: list[str] | str) -> None:
    from airflow.cli.cli_parser import get_parser

    words = command.split() if isinstance(command, str) else command
    assert callable(get_parser().parse_args(words).func)


@pytest.mark.parametrize("server", SERVERS)
def test_all_airflow_servers_share_keys_and_state(server: str) -> None:
    ours, theirs = environment(server), environment("airflow-scheduler")
    shared = {
        name for name in theirs if name.startswith(("AIRFLOW__", "AIRFLOW_CONN_", "MLFLOW_", "MILLRACE_", "PYTHONPATH"))
    }
    assert {name: ours.get(name) for name in shared} == {name: theirs[name] for name in shared}
    assert {target for name, _, target in MOUNTS if name == "airflow-scheduler"} <= {
        t for n, _, t in MOUNTS if n == server
    }


def test_include_can_be_imported_from_the_path() -> None:
    variables = environment("airflow-scheduler")
    assert ("airflow-scheduler", "./include", f"{variables['PYTHONPATH']}/include") in MOUNTS
    assert ("airflow-scheduler", "airflow-state", variables["MILLRACE_STATE"]) in MOUNTS


@pytest.mark.parametrize(
    ("service", "variable"),
    [("airflow-scheduler", "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"), ("mlflow", "MLFLOW_BACKEND_STORE_URI")],
)
def test_the_database_url_fits_postgres_and_the_driver_in_the_image(service: str, variable: str) -> None:
    from sqlalchemy.engine import make_url

    url, postgres = make_url(environment(service)[variable]), environment("postgres")
    assert f"{url.get_driver_name()}-binary==" in DOCKERFILE
    assert (url.host, url.username, url.password) == (
        "postgres",
        postgres["POSTGRES_USER"],
        postgres["POSTGRES_PASSWORD"],
    )
    made = re.findall(r"CREATE DATABASE (\w+);", COMPOSE["configs"]["postgres-databases"]["content"])
    assert url.database in [postgres["POSTGRES_DB"], *made]


def migrate_job(folder: Path, airflow: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Run airflow-migrate's own command with a script in the place of `airflow`."""
    (folder / "airflow").write_text(f"#!/bin/sh\n{airflow}\n")
    (folder / "airflow").chmod(0o755)
    path = f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = [filled(word) for word in SERVICES["airflow-migrate"]["command"]]
    return subprocess.run(command, env={"PATH": path, **variables}, check=False, timeout=60)


def test_the_migrate_job_leaves_a_login_that_only_its_user_can_read(tmp_path: Path) -> None:
    file, awkward = tmp_path / "passwords.json", """it's "$HOME" \\ `x`"""
    settings = {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(file), "AIRFLOW_ADMIN_PASSWORD": awkward}
    assert migrate_job(tmp_path, "exit 0", **settings).returncode == 0
    users = environment("airflow-api-server")["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"].split(",")
    assert json.loads(file.read_text()) == {user.split(":")[0]: awkward for user in users}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_failed_migration_fails_the_job(tmp_path: Path) -> None:
    assert migrate_job(tmp_path, "exit 7").returncode == 7


# ---- Kafka


def test_the_connection_leads_to_the_brokers_internal_listener() -> None:
    from airflow.sdk import Connection

    connection = Connection.from_json(
        environment("airflow-scheduler")["AIRFLOW_CONN_KAFKA_DEFAULT"], conn_id="kafka_default"
    )
    assert connection.conn_type == "kafka"
    advertised = entries(environment("kafka")["KAFKA_ADVERTISED_LISTENERS"])
    assert connection.extra_dejson["bootstrap.servers"] == advertised["INTERNAL"]


def test_tools_on_this_machine_are_sent_to_the_published_port() -> None:
    _, published, inside = filled(SERVICES["kafka"]["ports"][0]).split(":")
    assert entries(environment("kafka")["KAFKA_ADVERTISED_LISTENERS"])["HOST"] == f"localhost:{published}"
    assert entries(environment("kafka")["KAFKA_LISTENERS"])["HOST"] == f":{inside}"


def test_kafka_knows_every_setting(broker: Cluster) -> None:
    from confluent_kafka.admin import RESOURCE_BROKER, AdminClient, ConfigResource

    resource = ConfigResource(RESOURCE_BROKER, str(broker.nodes[0].record.id))
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    known = admin.describe_configs([resource], request_timeout=30)[resource].result(timeout=30)
    names = {name for name in environment("kafka") if name.startswith("KAFKA_")} - {"KAFKA_HEAP_OPTS"}
    assert {name.removeprefix("KAFKA_").lower().replace("_", ".") for name in names} <= known.keys()


def test_the_images_own_setup_accepts_the_settings(tmp_path: Path) -> None:
    """The class that the image's start script runs: environment to server.properties, then the storage is formatted."""
    for name in ("default", "mounted", "final"):
        (tmp_path / name).mkdir()
    (tmp_path / "default" / "server.properties").write_text("")
    variables = {**environment("kafka"), "KAFKA_LOG_DIRS": str(tmp_path / "data")}
    classpath = os.pathsep.join(map(str, verified_classpath()))
    folders = [
        word for name in ("default", "mounted", "final") for word in (f"--{name}-configs-dir", str(tmp_path / name))
    ]
    command = [str(find_java().executable), "-cp", classpath, "kafka.docker.KafkaDockerWrapper", "setup", *folders]
    made = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=120)
    assert made.returncode == 0, made.stdout + made.stderr
    assert f"cluster.id={variables['CLUSTER_ID']}" in (tmp_path / "data" / "meta.properties").read_text()


# ---- MLflow


def test_mlflow_answers_under_the_name_that_tasks_call_it_by() -> None:
    from mlflow.server.security_utils import is_allowed_host_header

    allowed = environment("mlflow")["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    host = environment("airflow-scheduler")["MLFLOW_TRACKING_URI"].removeprefix("http://")
    assert is_allowed_host_header(allowed, host)
    assert is_allowed_host_header(allowed, f"localhost:{SETTINGS['MLFLOW_PORT']}")
    assert not is_allowed_host_header(allowed, "attacker.example:5000")


def test_mlflow_knows_its_options() -> None:
    from mlflow.cli import server

    program, name, *options = SERVICES["mlflow"]["command"]
    assert (program, name) == ("mlflow", server.name)
    parsed = server.make_context(name, options).params
    assert (parsed["port"], parsed["serve_artifacts"]) == (5000, True)


@pytest.mark.parametrize(
    "variable", sorted({v for s in SERVICES.values() for v in s["environment"] if v.startswith("MLFLOW_")})
)
def test_mlflow_knows_every_variable(variable: str) -> None:
    import mlflow.environment_variables as known
    from mlflow.cli import server

    assert hasattr(known, variable) or variable in {option.envvar for option in server.params}


def test_mlflows_artifacts_are_on_its_volume() -> None:
    assert ("mlflow", "mlflow-artifacts", environment("mlflow")["MLFLOW_ARTIFACTS_DESTINATION"]) in MOUNTS
