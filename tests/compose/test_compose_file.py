"""docker-compose.yaml, .env.example and Dockerfile by themselves: what is declared, confined, pinned, waited for."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
import yaml

from include.local.broker.jars import read_lock
from tests.support.compose_file import (
    AIRFLOW,
    BINDS,
    CHECKS,
    COMPOSE,
    DOCKERFILE,
    JOBS,
    NODES,
    ROOT,
    SERVERS,
    SERVICES,
    SETTINGS,
    TEXT,
    VARIABLES,
    VOLUMES,
    WAITS,
    before,
    environment,
    filled,
    pinned,
)
from tests.support.json_schemas import assert_follows

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_it_follows_the_compose_specification() -> None:
    assert_follows("vendor.compose-spec", ROOT / "docker-compose.yaml")


def test_no_key_is_set_twice() -> None:
    """Compose refuses that; the parser of these tests takes the last one."""

    def keys_of(node: yaml.Node) -> Iterator[list[str]]:
        if isinstance(node, yaml.MappingNode):
            # A merge of another mapping may come more than once.
            yield [key.value for key, _ in node.value if key.value != "<<"]
        for child in node.value if isinstance(node, yaml.CollectionNode) else []:
            for part in child if isinstance(child, tuple) else [child]:
                yield from keys_of(part)

    assert [keys for keys in keys_of(yaml.compose(TEXT)) if len(keys) != len(set(keys))] == []


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
    folders = re.findall(r"^RUN mkdir --mode 0770 --parents (.*)$", DOCKERFILE, re.MULTILINE)[0].split()
    assert target in folders


@pytest.mark.parametrize(("service", "port"), [(n, p) for n, s in SERVICES.items() for p in s.get("ports", [])])
def test_ports_are_published_to_this_machine_only(service: str, port: str) -> None:
    assert port.startswith("127.0.0.1:"), service


def test_the_example_explains_the_variables_that_are_used_and_no_others() -> None:
    assert SETTINGS.keys() == {name for name, _, _ in VARIABLES}


@pytest.mark.parametrize(("name", "default"), [(n, text) for n, kind, text in VARIABLES if kind == "-"])
def test_the_example_shows_the_default_of_a_setting(name: str, default: str) -> None:
    assert SETTINGS[name] == default


def test_compose_says_what_writes_the_user_that_has_no_default() -> None:
    required = {(name, message) for name, kind, message in VARIABLES if kind == "?"}
    assert [name for name, _ in required] == ["MILLRACE_UID"]
    assert all("millrace compose-secrets" in message for _, message in required)
    assert SETTINGS["MILLRACE_UID"] == ""


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_no_privileges(service: str) -> None:
    settings = SERVICES[service]
    assert settings["cap_drop"] == ["ALL"]
    assert settings["security_opt"] == ["no-new-privileges:true"]
    assert not settings.keys() & {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc", "userns_mode"}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_runs_as_the_owner_of_the_secrets(service: str) -> None:
    user, group = filled(SERVICES[service]["user"]).split(":")
    assert (user, group) == (SETTINGS["MILLRACE_UID"] or "1000", "0")


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_writes_to_its_volumes_and_to_memory_only(service: str) -> None:
    settings = SERVICES[service]
    assert settings["read_only"] is True
    assert any(folder.partition(":")[0] == "/tmp" for folder in settings["tmpfs"])  # noqa: S108 - a container's
    assert all(mount.endswith(":ro") for mount in settings.get("volumes", []) if mount.startswith("."))


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_has_limits(service: str) -> None:
    settings = SERVICES[service]
    assert re.fullmatch(r"\d+[mg]", filled(str(settings["mem_limit"])))
    assert 0 < float(filled(str(settings["cpus"]))) <= 2
    assert 0 < settings["pids_limit"] <= 2048
    assert set(settings["logging"]["options"]) == {"max-size", "max-file"}


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_is_built_here_or_pinned_by_its_digest(service: str) -> None:
    image = SERVICES[service]["image"]
    built = "build" in SERVICES[service]
    assert built or re.fullmatch(r"[a-z/]+:\d+\.\d+(\.\d+)?@sha256:[0-9a-f]{64}", image)


@pytest.mark.parametrize("service", SERVICES)
def test_no_secret_is_a_setting(service: str) -> None:
    """Settings are shown by `docker inspect`; a file is not."""
    secret = re.compile(r"PASSWORD|SECRET(?!S__)|TOKEN|FERNET|CREDENTIALS")
    shown = {name: value for name, value in environment(service).items() if secret.search(name)}
    assert [name for name, value in shown.items() if not re.search(r"^(cat )?/(run/secrets|tmp)/", value)] == []
    assert not re.search(r"://[^/@]*:[^/@]*@", json.dumps(SERVICES[service]))


@pytest.mark.parametrize(
    ("one", "other", "network"),
    [
        *((server, "postgres", "airflow-database") for server in [*SERVERS, "airflow-migrate"]),
        *((service, "postgres", "mlflow-database") for service in ("mlflow", "mlflow-migrate")),
        *((service, node, "kafka") for node in NODES for service in ("airflow-scheduler", "airflow-triggerer")),
        *((service, "kafka-1", "kafka") for service in ("kafka-2", "kafka-3", "kafka-users")),
        ("airflow-scheduler", "mlflow", "mlflow"),
        ("airflow-scheduler", "airflow-api-server", "airflow"),
        ("airflow-triggerer", "airflow-api-server", "airflow"),
    ],
)
def test_services_that_talk_share_a_network(one: str, other: str, network: str) -> None:
    assert network in set(SERVICES[one]["networks"]) & set(SERVICES[other]["networks"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *((node, other) for node in NODES for other in ("postgres", "mlflow", "airflow-api-server")),
        ("mlflow", "airflow-api-server"),
        ("airflow-dag-processor", "kafka-1"),
        ("airflow-dag-processor", "mlflow"),
        ("airflow-api-server", "kafka-1"),
        ("airflow-api-server", "mlflow"),
    ],
)
def test_services_that_do_not_talk_share_no_network(one: str, other: str) -> None:
    assert not set(SERVICES[one]["networks"]) & set(SERVICES[other]["networks"])


def test_every_network_is_declared_and_the_databases_lead_nowhere_else() -> None:
    used = {network for service in SERVICES.values() for network in service["networks"]}
    assert used == COMPOSE["networks"].keys()
    internal = {name for name, network in COMPOSE["networks"].items() if network and network.get("internal")}
    assert internal == {"airflow-database", "mlflow-database"}
    published = [service for service, settings in SERVICES.items() if "ports" in settings]
    assert all(set(SERVICES[service]["networks"]) - internal for service in published)


def test_the_image_is_the_pinned_airflow() -> None:
    """By its version and by its digest."""
    [image] = re.findall(r"^FROM (.*)$", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(rf"apache/airflow:{pinned('apache-airflow')}-python3\.\d+@sha256:[0-9a-f]{{64}}", image)


@pytest.mark.parametrize("service", [*AIRFLOW, "mlflow", "mlflow-migrate"])
def test_one_image_serves_airflow_and_mlflow(service: str) -> None:
    assert SERVICES[service]["image"] == f"millrace-airflow:{pinned('apache-airflow')}"
    assert SERVICES[service]["build"]["context"] == "."


@pytest.mark.parametrize("service", [*NODES, "kafka-users"])
def test_kafka_is_the_version_of_the_embedded_broker(service: str) -> None:
    locked = next(jar.version for jar in read_lock() if jar.artifact.startswith("kafka_"))
    assert SERVICES[service]["image"].partition("@")[0] == f"apache/kafka:{locked}"


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


@pytest.mark.parametrize("service", [*SERVERS, *NODES, "postgres", "mlflow"])
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
        *((server, node) for server in ("airflow-scheduler", "airflow-triggerer") for node in [*NODES, "kafka-users"]),
    ],
)
def test_a_service_starts_after_what_it_needs(service: str, first: str) -> None:
    assert first in before(service)
