"""What docker-compose.yaml and its files have, parsed for the tests that compare it with the programs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker-compose.yaml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()
SETTINGS = dict(re.findall(r"^(\w+)=(.*)$", EXAMPLE, re.MULTILINE))
# ${NAME}, ${NAME:-default} or ${NAME:?message}; Compose ignores those in comments.
VARIABLES = re.findall(r"\$\{(\w+)(?::([-?])([^}]*))?\}", re.sub(r"^\s*#.*$", "", TEXT, flags=re.MULTILINE))
CHECKS = {name: service["healthcheck"]["test"] for name, service in SERVICES.items() if "healthcheck" in service}
AIRFLOW = {name: service for name, service in SERVICES.items() if name.startswith("airflow-")}
SERVERS = ["airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer"]
JOBS = ["airflow-migrate", "mlflow-migrate", "kafka-users"]
NODES = ["kafka-1", "kafka-2", "kafka-3"]
WAITS = [
    (name, other, wait["condition"])
    for name, service in SERVICES.items()
    for other, wait in service.get("depends_on", {}).items()
]
MOUNTS = [(name, *mount.split(":")[:2]) for name, service in SERVICES.items() for mount in service.get("volumes", [])]
BINDS = sorted({source for _, source, _ in MOUNTS if source.startswith(".")})
VOLUMES = sorted({(source, target) for _, source, target in MOUNTS if not source.startswith(".")})
# The path of each secret in each service.
SECRETS = {
    name: dict(
        (secret, f"/run/secrets/{secret}")
        if isinstance(secret, str)
        else (secret["source"], str(Path("/run/secrets") / secret["target"]))
        for secret in service.get("secrets", [])
    )
    for name, service in SERVICES.items()
}


def pinned(package: str) -> str:
    """The version that requirements.txt pins."""
    versions: list[str] = re.findall(rf"^{package}==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    return versions[0]


def filled(value: str) -> str:
    """A value as a container gets it with .env.example as .env, and 1000 for its empty value."""
    value = re.sub(r"\$\{(\w+)[^}]*\}", lambda match: SETTINGS[match[1]] or "1000", value)
    return value.replace("$$", "$")


def environment(service: str) -> dict[str, str]:
    """A service's environment as its container gets it."""
    return {name: filled(value) for name, value in SERVICES[service].get("environment", {}).items()}


def before(service: str) -> set[str]:
    """All services that a service waits for, directly or indirectly."""
    direct = {other for name, other, _ in WAITS if name == service}
    return direct.union(*(before(other) for other in direct))


def entries(value: str) -> dict[str, str]:
    """`NAME://address` pairs of a list of Kafka listeners."""
    return dict(entry.split("://") for entry in value.split(","))
