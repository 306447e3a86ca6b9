"""How a command finds Kafka: by its option, in the local stack, or in Airflow's environment variable."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from include.errors import PermanentError
from include.kafka.connection import KafkaConnection
from include.kafka.schema_registry import SchemaRegistry, registry_at
from include.local.broker import Cluster, default_data_dir
from include.local.environment import CONNECTION

if TYPE_CHECKING:
    from include.definition.pipeline import Pipeline

TIMEOUT_S = 15.0


class NoKafka(PermanentError):
    """No address of Kafka is known, or it can't be read."""


def find_kafka(pipeline: Pipeline, bootstrap_servers: str | None) -> KafkaConnection:
    """The pipeline's cluster: from `bootstrap_servers`, the local stack, or the connection's variable.

    The local stack comes before the variable, as in its own tasks. A connection that is only in Airflow's database is
    not found, because that needs Airflow.

    Raises:
        NoKafka: none of these is set, or the variable can't be read.
    """
    if bootstrap_servers:
        return KafkaConnection({"bootstrap.servers": bootstrap_servers}, timeout_s=TIMEOUT_S)
    if pipeline.connection == CONNECTION:
        cluster = Cluster.load(default_data_dir())
        if cluster is not None and cluster.running():
            return KafkaConnection({"bootstrap.servers": cluster.bootstrap_servers}, timeout_s=TIMEOUT_S)
    variable = f"AIRFLOW_CONN_{pipeline.connection.upper()}"
    if value := os.environ.get(variable):
        return KafkaConnection(_settings(variable, value), timeout_s=TIMEOUT_S)
    raise NoKafka(
        f"No local broker runs and {variable} is not set: say where Kafka is with --bootstrap-servers host:port, start "
        "the stack with `make up`, or set that variable."
    )


def find_registry(connection_id: str) -> SchemaRegistry:
    """The Schema Registry that the connection's variable describes.

    Raises:
        NoKafka: the variable is not set, or can't be read.
        RegistryRefused: it has no URL of the registry.
    """
    variable = f"AIRFLOW_CONN_{connection_id.upper()}"
    value = os.environ.get(variable)
    if not value:
        raise NoKafka(f"{variable} is not set, and records are read with a Schema Registry: set it to its URL or JSON.")
    if not value.lstrip().startswith("{"):
        return registry_at(value)
    try:
        values = json.loads(value)
        extra = values.get("extra") or {}
        extra = json.loads(extra) if isinstance(extra, str) else extra
    except (ValueError, AttributeError) as error:
        raise NoKafka(f"{variable} can't be read as an Airflow connection: it is no JSON object.") from error
    names = {"port": "port", "login": "login", "password": "password", "scheme": "schema"}
    return registry_at(values.get("host"), extra=extra, **{ours: values.get(name) for ours, name in names.items()})


def _settings(variable: str, value: str) -> dict[str, Any]:
    try:
        settings = _extra(value)
    except (ValueError, AttributeError) as error:
        # Only the position of JSON's error: the variable may hold a password.
        reason = f"it is no JSON at character {error.pos}" if isinstance(error, json.JSONDecodeError) else error
        raise NoKafka(
            f"{variable} can't be read as an Airflow connection to Kafka ({reason}): correct it, or say where Kafka is "
            "with --bootstrap-servers host:port."
        ) from error
    # Airflow's provider imports callbacks by their names.
    return {name: value for name, value in settings.items() if not name.endswith("_cb")}


def _extra(value: str) -> dict[str, Any]:
    """A connection's extra, as Airflow reads it from JSON or from a URI."""
    if value.lstrip().startswith("{"):
        extra = json.loads(value).get("extra") or {}
    else:
        query = dict(parse_qsl(urlsplit(value).query))
        extra = query.get("__extra__", query)
    settings: dict[str, Any] = json.loads(extra) if isinstance(extra, str) else extra
    if not settings.get("bootstrap.servers"):
        raise ValueError("it has no bootstrap.servers")
    return settings
