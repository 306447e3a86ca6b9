"""docker-compose.yaml's services as processes: their settings and commands, with the paths and addresses of a test."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from include.kafka.connection import KafkaConnection
from include.local.broker import die_with_parent
from include.local.broker.jars import verified_classpath
from include.local.broker.java import find_java
from include.local.compose import write_secrets
from include.local.ports import broker_ports
from include.storage.state import PROJECT_ROOT
from tests.support.kafka_acls import administrator
from tests.support.processes import wait_for

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((PROJECT_ROOT / "docker-compose.yaml").read_text())["services"]
CONFIGS: dict[str, dict[str, str]] = yaml.safe_load((PROJECT_ROOT / "docker-compose.yaml").read_text())["configs"]
NODES = ("kafka-1", "kafka-2", "kafka-3")
_DEFAULTS = dict(re.findall(r"^(\w+)=(.*)$", (PROJECT_ROOT / ".env.example").read_text(), re.MULTILINE))


@dataclass
class Project:
    """A folder with the secrets of a new project, and the addresses that stand for those of the containers."""

    folder: Path
    addresses: dict[str, str] = field(default_factory=dict)

    @classmethod
    def create(cls, folder: Path) -> Project:
        """Write the secrets, as `millrace compose-secrets` does."""
        (folder / ".env.example").write_bytes((PROJECT_ROOT / ".env.example").read_bytes())
        write_secrets(folder)
        return cls(folder)

    def secret(self, name: str) -> Path:
        return self.folder / "secrets" / name

    def here(self, value: str) -> str:
        """A value of the compose file, or of a secret, with this machine's paths and addresses."""
        value = re.sub(r"\$\{(\w+)[^}]*\}", lambda match: _DEFAULTS[match[1]], value).replace("$$", "$")
        value = value.replace("/run/secrets", str(self.folder / "secrets"))
        for address, ours in self.addresses.items():
            value = re.sub(rf"(?<![\w.-]){re.escape(address)}(?!\d)", ours, value)
        return value

    def environment(self, service: str) -> dict[str, str]:
        return {name: self.here(value) for name, value in SERVICES[service].get("environment", {}).items()}

    def command(self, service: str) -> list[str]:
        """The words of entry point and command."""
        settings = SERVICES[service]
        return [self.here(word) for word in [*settings.get("entrypoint", []), *settings["command"]]]

    def connection(self, name: str = "airflow-connections.json", **changed: str) -> KafkaConnection:
        """The connection in a file, as the library gets it."""
        connection = json.loads(self.here(self.secret(name).read_text()))
        extra = connection.get("kafka_default", connection)["extra"]
        location = str(self.secret("ca.crt"))
        # Java listens on one of the addresses of `localhost`.
        settings = {**extra, "ssl.ca.location": location, "broker.address.family": "v4", **changed}
        return KafkaConnection(settings, timeout_s=60)


@dataclass
class KafkaNodes:
    """The running nodes by name."""

    processes: dict[str, subprocess.Popen[bytes]]
    folders: dict[str, Path]

    def logs(self) -> str:
        return "".join((folder / "output").read_text() for folder in self.folders.values())


def with_kafka_addresses(project: Project) -> None:
    """Give each listener of each node a free port."""
    ports = iter(broker_ports(4 * len(NODES)))
    for node, published in zip(NODES, ("29092", "29093", "29094"), strict=True):
        for inside in ("9092", "9093", "9094"):
            project.addresses[f"{node}:{inside}"] = f"localhost:{next(ports)}"
        project.addresses[f"localhost:{published}"] = f"localhost:{next(ports)}"


@contextmanager
def running_kafka(project: Project, folder: Path) -> Iterator[KafkaNodes]:
    """The three nodes, set up by the class that the image's start script runs, then the users' job."""
    nodes = KafkaNodes({}, {name: folder / name for name in NODES})
    classpath = os.pathsep.join(map(str, verified_classpath()))
    java = [str(find_java()), "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", classpath]
    try:
        setups = [_set_up(project, java, name, nodes.folders[name]) for name in NODES]
        for name, setup in zip(NODES, setups, strict=True):
            assert setup.wait(timeout=120) == 0, (nodes.folders[name] / "output").read_text()
        for name in NODES:
            nodes.processes[name] = _start(java, nodes.folders[name])
        _run_users_job(project, java, folder)
        yield nodes
    finally:
        for process in nodes.processes.values():
            process.kill()
        for process in nodes.processes.values():
            process.wait(timeout=30)


def _set_up(project: Project, java: list[str], name: str, folder: Path) -> subprocess.Popen[bytes]:
    """Write the node's properties from the mounted file and the environment, and format its storage."""
    mounted = folder / "mounted"
    for part in ("default", "mounted", "final"):
        (folder / part).mkdir(parents=True)
    for secret in SERVICES[name]["secrets"]:
        if isinstance(secret, dict) and secret["target"].startswith("/mnt/shared/config/"):
            (mounted / Path(secret["target"]).name).write_bytes(project.secret(secret["source"]).read_bytes())
    for config in SERVICES[name]["configs"]:
        source = PROJECT_ROOT / CONFIGS[config["source"]]["file"]
        (mounted / Path(config["target"]).name).write_bytes(source.read_bytes())
    certificate = str(project.secret(f"{name}.pem"))
    variables = {
        key: value.replace(str(project.secret("kafka.pem")), certificate)
        for key, value in project.environment(name).items()
    }
    # All nodes share this machine's ports: each listens on its own.
    advertised = dict(entry.split("://") for entry in variables["KAFKA_ADVERTISED_LISTENERS"].split(","))
    advertised["CONTROLLER"] = project.addresses[f"{name}:9093"]
    variables["KAFKA_LISTENERS"] = ",".join(
        f"{listener}://{advertised[listener]}" for listener in re.findall(r"(\w+)://", variables["KAFKA_LISTENERS"])
    )
    variables["KAFKA_LOG_DIRS"] = str(folder / "data")
    folders = [word for part in ("default", "mounted", "final") for word in (f"--{part}-configs-dir", folder / part)]
    command = [*java, "kafka.docker.KafkaDockerWrapper", "setup", *map(str, folders)]
    with (folder / "output").open("wb") as output:
        return subprocess.Popen(command, env=variables, stdout=output, stderr=subprocess.STDOUT)


def _start(java: list[str], folder: Path) -> subprocess.Popen[bytes]:
    options = [
        "-Xmx256m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        f"-Dlog4j2.configurationFile={folder}/final/log4j2.yaml",
    ]
    program = [java[0], *options, *java[1:], "kafka.Kafka", str(folder / "final" / "server.properties")]
    # Killed with this process, for whatever reason it ends.
    command = [sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid()), *program]
    with (folder / "output").open("ab") as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)


def _run_users_job(project: Project, java: list[str], folder: Path) -> None:
    """Run the job's own script, with Kafka's class for users, and a script of the tests for rights."""
    tools = folder / "tools"
    tools.mkdir()
    users = [*java, "kafka.admin.ConfigCommand"]
    for name, program in {
        "kafka-configs.sh": users,
        # Kafka's own class for this is in none of the broker's jars.
        "kafka-acls.sh": [sys.executable, "-m", "tests.support.kafka_acls"],
    }.items():
        words = " ".join(f"'{word}'" for word in program)
        (tools / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        (tools / name).chmod(0o755)
    admin = folder / "kafka-admin.properties"
    admin.write_text(project.here(project.secret("kafka-admin.properties").read_text()))
    command = [
        word.replace("/opt/kafka/bin", str(tools)).replace(str(project.secret("kafka-admin.properties")), str(admin))
        for word in project.command("kafka-users")
    ]
    wait_for(lambda: _all_registered(project), "the three nodes", timeout_s=240)
    job = subprocess.run(command, env=_tool_environment(), capture_output=True, text=True, check=False, timeout=120)
    assert job.returncode == 0, job.stdout + job.stderr


def _all_registered(project: Project) -> bool:
    """Whether every node answers, as their healthchecks ask, and knows the others."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    settings = administrator(project.here(project.secret("kafka-admin.properties").read_text()))
    for node in NODES:
        with AdminClient({**settings, "bootstrap.servers": project.addresses[f"{node}:9094"], "log_level": 0}) as admin:
            try:
                if len(admin.list_topics(timeout=10).brokers) < len(NODES):
                    return False
            except KafkaException:
                return False
    return True


def _tool_environment() -> Mapping[str, str]:
    return {**os.environ, "PYTHONPATH": str(PROJECT_ROOT)}
