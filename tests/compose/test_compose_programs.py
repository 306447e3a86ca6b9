"""docker-compose.yaml compared with Airflow, Kafka and MLflow, which it configures."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from include.local.environment import Layout, stack_settings
from include.local.ports import API_PORT
from tests.support.compose_file import (
    AIRFLOW,
    CHECKS,
    MOUNTS,
    NODES,
    ROOT,
    SECRETS,
    SERVERS,
    SERVICES,
    SETTINGS,
    entries,
    environment,
    filled,
)

if TYPE_CHECKING:
    from include.local.broker import Cluster


@pytest.mark.parametrize("variable", sorted({v for s in AIRFLOW for v in environment(s) if v.startswith("AIRFLOW__")}))
def test_airflow_knows_every_option(variable: str) -> None:
    from airflow.configuration import conf

    section, option = variable.removeprefix("AIRFLOW__").lower().split("__")
    if option.endswith("_cmd"):
        option = option.removesuffix("_cmd")
        # Of other options Airflow runs no command.
        assert (section, option) in conf.sensitive_config_values
    assert option in conf.configuration_description[section]["options"]


@pytest.mark.parametrize(
    "command",
    [
        *(SERVICES[service]["command"] for service in AIRFLOW if service != "airflow-api-server"),
        *(check[2:] for check in CHECKS.values() if check[1] == "airflow"),
        *re.findall(r"^\s*exec airflow (.*)$", SERVICES["airflow-api-server"]["command"][-1], re.MULTILINE),
    ],
    ids=str,
)
def test_airflow_knows_every_command(command: list[str] | str) -> None:
    from airflow.cli.cli_parser import get_parser

    words = command.split() if isinstance(command, str) else command
    assert callable(get_parser().parse_args(words).func)


@pytest.mark.parametrize("server", SERVERS)
def test_all_airflow_servers_share_settings_and_state(server: str) -> None:
    ours, shared = environment(server), environment("airflow-dag-processor")
    assert {name: ours.get(name) for name in shared} == shared
    assert {target for name, _, target in MOUNTS if name == "airflow-scheduler"} <= {
        t for n, _, t in MOUNTS if n == server
    }


def airflow_environment(project: Path, service: str) -> dict[str, str]:
    """Airflow's settings in a service, with the files where this project has them."""
    settings = {
        name: value.replace("/run/secrets/", f"{project}/secrets/")
        for name, value in environment(service).items()
        if name.startswith("AIRFLOW__")
    }
    # Airflow creates its database's folder at once.
    del settings["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    return {"PATH": os.environ["PATH"], "AIRFLOW_HOME": str(project), "HOME": str(project), **settings}


def run_python(script: str, variables: dict[str, str]) -> list[str]:
    """The words that a script prints last."""
    done = subprocess.run(
        [sys.executable, "-c", script], env=variables, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()


@pytest.mark.slow  # imports Airflow in another process
def test_airflow_reads_its_secrets_from_their_files(project: Path) -> None:
    options = {
        "airflow-fernet-key": ("core", "fernet_key"),
        "airflow-jwt-secret": ("api_auth", "jwt_secret"),
        "airflow-api-secret-key": ("api", "secret_key"),
    }
    assert options.keys() <= SECRETS["airflow-scheduler"].keys()
    script = f"from airflow.configuration import conf; print(*(conf.get(*option) for option in {[*options.values()]}))"
    read = run_python(script, airflow_environment(project, "airflow-scheduler"))
    assert read == [(project / "secrets" / name).read_text() for name in options]


@pytest.mark.parametrize("service", SERVERS)
def test_a_server_reads_those_secrets_only_that_it_has(service: str) -> None:
    commands = {value for name, value in environment(service).items() if name.endswith("_CMD")}
    keys = ("airflow-fernet-key", "airflow-jwt-secret", "airflow-api-secret-key")
    assert commands == {f"cat {SECRETS[service][key]}" for key in keys if key in SECRETS[service]}


def test_the_api_server_knows_the_password_that_was_written(project: Path, tmp_path: Path) -> None:
    """The container's own command, with a script in the place of `airflow`."""
    file = tmp_path / "passwords.json"
    (tmp_path / "airflow").write_text('#!/bin/sh\necho "runs $*"\n')
    (tmp_path / "airflow").chmod(0o755)
    command = [
        filled(w).replace("/run/secrets/", f"{project}/secrets/") for w in SERVICES["airflow-api-server"]["command"]
    ]
    variables = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(file),
    }
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "runs api-server\n"
    users = environment("airflow-api-server")["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"].split(",")
    assert set(json.loads(file.read_text())) == {user.split(":")[0] for user in users}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("server", SERVERS)
def test_airflow_hides_a_connections_keys_as_in_the_local_stack(server: str, tmp_path: Path) -> None:
    name = "AIRFLOW__CORE__SENSITIVE_VAR_CONN_NAMES"
    local = stack_settings(Layout(tmp_path), ports={API_PORT: "8080"}, kafka={}, environment={})
    assert environment(server)[name] == local[name]


def test_include_can_be_imported_from_the_path() -> None:
    variables = environment("airflow-scheduler")
    assert ("airflow-scheduler", "./include", f"{variables['PYTHONPATH']}/include") in MOUNTS
    assert ("airflow-scheduler", "airflow-state", variables["MILLRACE_STATE"]) in MOUNTS


@pytest.mark.parametrize(
    ("service", "variable", "role"),
    [
        ("airflow-scheduler", "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "airflow"),
        ("mlflow", "MLFLOW_BACKEND_STORE_URI", "mlflow"),
    ],
)
def test_a_service_logs_in_to_its_own_database_by_tls(project: Path, service: str, variable: str, role: str) -> None:
    from sqlalchemy.engine import make_url

    variables = environment(service)
    url = make_url(variables[variable])
    assert f"\n{url.get_driver_name()}-binary==" in (ROOT / "requirements-image.txt").read_text()
    assert (url.host, url.username, url.password, url.database) == ("postgres", role, None, role)
    assert variables["PGPASSFILE"] == f"/run/secrets/{role}.pgpass"
    host, port, _, user, _ = (project / "secrets" / f"{role}.pgpass").read_text().split(":")
    assert (host, int(port), user) == (url.host, url.port, role)
    assert variables["PGSSLMODE"] == "verify-full"
    assert variables["PGSSLROOTCERT"] == SECRETS[service]["ca.crt"]


def test_the_connection_leads_to_every_broker(project: Path) -> None:
    from airflow.sdk import Connection

    text = json.dumps(json.loads((project / "secrets" / "airflow-connections.json").read_text())["kafka_default"])
    connection = Connection.from_json(text, conn_id="kafka_default")
    assert connection.conn_type == "kafka"
    advertised = [entries(environment(node)["KAFKA_ADVERTISED_LISTENERS"])["CLIENT"] for node in NODES]
    assert connection.extra_dejson["bootstrap.servers"].split(",") == advertised


@pytest.mark.slow  # imports Airflow in another process
def test_airflows_tasks_find_the_connection_in_its_file(project: Path) -> None:
    variables = airflow_environment(project, "airflow-scheduler")
    script = (
        "from airflow.sdk import BaseHook; connection = BaseHook.get_connection('kafka_default'); "
        "print(connection.conn_type, connection.extra_dejson['security.protocol'])"
    )
    # As in the process of a task.
    assert run_python(script, {**variables, "_AIRFLOW_PROCESS_CONTEXT": "client"}) == ["kafka", "SASL_SSL"]


@pytest.mark.parametrize("node", NODES)
def test_tools_on_this_machine_are_sent_to_the_published_port(node: str) -> None:
    _, published, inside = filled(SERVICES[node]["ports"][0]).split(":")
    assert entries(environment(node)["KAFKA_ADVERTISED_LISTENERS"])["HOST"] == f"localhost:{published}"
    assert entries(environment(node)["KAFKA_LISTENERS"])["HOST"] == f":{inside}"


@pytest.mark.parametrize("node", NODES)
def test_every_listener_of_kafka_asks_for_a_login_over_tls(node: str) -> None:
    variables = environment(node)
    protocols = dict(entry.split(":") for entry in variables["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(","))
    assert protocols == dict.fromkeys(entries(variables["KAFKA_LISTENERS"]), "SASL_SSL")


def test_kafka_knows_every_setting(broker: Cluster) -> None:
    from confluent_kafka.admin import RESOURCE_BROKER, AdminClient, ConfigResource

    resource = ConfigResource(RESOURCE_BROKER, str(broker.nodes[0].record.id))
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    known = admin.describe_configs([resource], request_timeout=30)[resource].result(timeout=30)
    names = {name for name in environment("kafka-1") if name.startswith("KAFKA_")} - {"KAFKA_HEAP_OPTS"}
    settings = {name.removeprefix("KAFKA_").lower().replace("_", ".") for name in names}
    # The authorizer's own.
    settings -= {"super.users", "allow.everyone.if.no.acl.found"}
    # Settings of one listener are named after it.
    assert {
        re.sub(r"^listener\.name\.[a-z]+\.(scram\.\.\.sha\.\.\.512\.)?", "", name) for name in settings
    } <= known.keys()


def test_mlflow_answers_under_the_name_that_tasks_call_it_by() -> None:
    from mlflow.server.security_utils import is_allowed_host_header

    allowed = environment("mlflow")["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    host = environment("airflow-scheduler")["MLFLOW_TRACKING_URI"].removeprefix("http://")
    assert is_allowed_host_header(allowed, host)
    assert is_allowed_host_header(allowed, f"localhost:{SETTINGS['MLFLOW_PORT']}")
    assert not is_allowed_host_header(allowed, "attacker.example:5000")


def test_mlflow_knows_its_options() -> None:
    from mlflow.cli import server

    program, name, *options = re.findall(r"^exec (.*)$", SERVICES["mlflow"]["command"][-1], re.MULTILINE)[0].split()
    assert (program, name) == ("mlflow", server.name)
    parsed = server.make_context(name, options).params
    assert (parsed["port"], parsed["serve_artifacts"], parsed["app_name"]) == (5000, True, "basic-auth")


@pytest.mark.parametrize("variable", sorted({v for s in SERVICES for v in environment(s) if v.startswith("MLFLOW_")}))
def test_mlflow_knows_every_variable(variable: str) -> None:
    import mlflow.environment_variables as known
    from mlflow.cli import server

    assert hasattr(known, variable) or variable in {option.envvar for option in server.params}


def test_mlflows_artifacts_are_on_its_volume() -> None:
    assert ("mlflow", "mlflow-artifacts", environment("mlflow")["MLFLOW_ARTIFACTS_DESTINATION"]) in MOUNTS
