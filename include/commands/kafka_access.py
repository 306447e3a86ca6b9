"""Where a command finds Kafka: as it is told, in the local stack, or as Airflow's variable says."""

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
    """Nobody says where Kafka is, or in a way that can't be read."""


def find_kafka(pipeline: Pipeline, bootstrap_servers: str | None) -> KafkaConnection:
    """The pipeline's cluster: that of `bootstrap_servers`, of the local stack, or of the connection's variable.

    The local stack comes before the variable because its own tasks have it so. A connection that is only in Airflow's
    database is not found: that takes Airflow.

    Raises:
        NoKafka: there is none of these, or the variable can't be read.
    """
    if bootstrap_servers:
        return KafkaConnection({"bootstrap.servers": bootstrap_servers}, timeout_s=TIMEOUT_S)
    if pipeline.connection == CONNECTION:
        cluster = Cluster.load(default_data_dir())
        if cluster is not None and cluster.running():
            return KafkaConnection({"bootstrap.servers": cluster.bootstrap_servers}, timeout_s=TIMEOUT_S)
    variable = f"AIRFLOW_CONN_{pipeline.connection.upper()}"
    if told := os.environ.get(variable):
        return KafkaConnection(_settings(variable, told), timeout_s=TIMEOUT_S)
    raise NoKafka(
        f"No local broker runs and {variable} is not set: say where Kafka is with --bootstrap-servers host:port, start "
        "the stack with `make up`, or set that variable."
    )


def find_registry(connection_id: str) -> SchemaRegistry:
    """The Schema Registry that the connection's variable describes.

    Raises:
        NoKafka: the variable is not set, or can't be read.
        RegistryRefused: it does not say where the registry is.
    """
    variable = f"AIRFLOW_CONN_{connection_id.upper()}"
    told = os.environ.get(variable)
    if not told:
        raise NoKafka(f"{variable} is not set, and records are read with a Schema Registry: set it to its URL or JSON.")
    if not told.lstrip().startswith("{"):
        return registry_at(told)
    try:
        values = json.loads(told)
        extra = values.get("extra") or {}
        extra = json.loads(extra) if isinstance(extra, str) else extra
    except (ValueError, AttributeError) as error:
        raise NoKafka(f"{variable} can't be read as an Airflow connection: it is no JSON object.") from error
    names = {"port": "port", "login": "login", "password": "password", "scheme": "schema"}
    return registry_at(values.get("host"), extra=extra, **{ours: values.get(name) for ours, name in names.items()})


def _settings(variable: str, told: str) -> dict[str, Any]:
    try:
        settings = _extra(told)
    except (ValueError, AttributeError) as error:
        # Of JSON's error the position alone is told: the variable may hold a password.
        reason = f"it is no JSON at character {error.pos}" if isinstance(error, json.JSONDecodeError) else error
        raise NoKafka(
            f"{variable} can't be read as an Airflow connection to Kafka ({reason}): correct it, or say where Kafka is "
            "with --bootstrap-servers host:port."
        ) from error
    # Airflow's provider imports callbacks by their names.
    return {name: value for name, value in settings.items() if not name.endswith("_cb")}


def _extra(told: str) -> dict[str, Any]:
    """A connection's extra, as Airflow reads it from JSON or from a URI."""
    if told.lstrip().startswith("{"):
        extra = json.loads(told).get("extra") or {}
    else:
        query = dict(parse_qsl(urlsplit(told).query))
        extra = query.get("__extra__", query)
    settings: dict[str, Any] = json.loads(extra) if isinstance(extra, str) else extra
    if not settings.get("bootstrap.servers"):
        raise ValueError("it has no bootstrap.servers")
    return settings
