"""How a command finds Kafka: by its option, in the local stack, or in Airflow's environment variable."""

import json
import os
from dataclasses import replace
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlsplit

import typer

from include.definition.pipeline import Pipeline
from include.errors import PermanentError
from include.kafka.connection import KafkaConnection
from include.kafka.schema_registry import SchemaRegistry, registry_at
from include.kafka.signing import SigningKeys
from include.local.broker import Cluster, default_data_dir
from include.local.environment import CONNECTION, connection_variable

TIMEOUT_S = 15.0

PipelineName = Annotated[str, typer.Argument(metavar="PIPELINE", help="The pipeline's name.")]
BootstrapServers = Annotated[
    str | None,
    typer.Option(help="Where Kafka is; by default the local stack's, or the connection's.", show_default=False),
]


class NoKafka(PermanentError):
    """No address of Kafka is known, or it can't be read."""


def find_kafka(connection: str, bootstrap_servers: str | None) -> KafkaConnection:
    """The cluster of an Airflow connection: from `bootstrap_servers`, the local stack, or the connection's variable.

    The local stack comes before the variable, as in its own tasks. A connection that is only in Airflow's database is
    not found, because that needs Airflow.

    Raises:
        NoKafka: none of these is set, or the variable can't be read.
    """
    if bootstrap_servers:
        return KafkaConnection({"bootstrap.servers": bootstrap_servers}, timeout_s=TIMEOUT_S)
    if connection == CONNECTION:
        cluster = Cluster.load(default_data_dir())
        if cluster is not None and cluster.running():
            return KafkaConnection(cluster.client_settings(), timeout_s=TIMEOUT_S)
    variable, value = _variable(connection)
    if value:
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
    variable, value = _variable(connection_id)
    if not value:
        raise NoKafka(f"{variable} is not set, and records are read with a Schema Registry: set it to its URL or JSON.")
    if not value.lstrip().startswith("{"):
        return registry_at(value)
    try:
        fields = _fields(value)
    except (ValueError, AttributeError) as error:
        raise NoKafka(f"{variable} can't be read as an Airflow connection: it is no JSON object.") from error
    names = {"port": "port", "login": "login", "password": "password", "scheme": "schema", "extra": "extra"}
    return registry_at(fields.get("host"), **{ours: fields.get(name) for ours, name in names.items()})


def find_ledger(pipeline: Pipeline, bootstrap_servers: str | None) -> KafkaConnection:
    """The pipeline's cluster with its environment, and where its records are signed with the keys.

    Raises:
        NoKafka: see `find_kafka`; or the records are signed and the variable of the keys' connection can't be read.
        InvalidSigningKeys: an id or a secret is not valid.
    """
    kafka = find_kafka(pipeline.connection, bootstrap_servers)
    if pipeline.signing is None:
        return kafka
    variable, value = _variable(pipeline.signing.connection)
    try:
        fields = _fields(value)
        login, password = fields["login"], fields["password"]
        secrets = {**fields["extra"].get("retired_secrets", {}), login: password}
        keys = SigningKeys(login, secrets, pipeline.signing.audience)
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise NoKafka(
            f"The pipeline has [signing] and {variable} is not the JSON of a connection with login and password: set "
            "it to that."
        ) from error
    return replace(kafka, signing=keys)


def _variable(connection_id: str) -> tuple[str, str]:
    """The name of a connection's environment variable, and its content, empty if it is not set."""
    name = connection_variable(connection_id)
    return name, os.environ.get(name, "")


def _fields(value: str) -> dict[str, Any]:
    """The fields of a connection in JSON, its extra as an object."""
    fields = json.loads(value)
    extra = fields.get("extra") or {}
    return {**fields, "extra": json.loads(extra) if isinstance(extra, str) else extra}


def _settings(variable: str, value: str) -> dict[str, Any]:
    """The extra of a connection in JSON or as a URI, which has librdkafka's settings."""
    try:
        if value.lstrip().startswith("{"):
            settings = _fields(value)["extra"]
        else:
            query = dict(parse_qsl(urlsplit(value).query))
            settings = json.loads(query["__extra__"]) if "__extra__" in query else query
        if not settings.get("bootstrap.servers"):
            raise ValueError("it has no bootstrap.servers")  # noqa: TRY301 - one error for all
    except (ValueError, AttributeError) as error:
        # Only the position of JSON's error: the variable may hold a password.
        reason = f"it is no JSON at character {error.pos}" if isinstance(error, json.JSONDecodeError) else error
        raise NoKafka(
            f"{variable} can't be read as an Airflow connection to Kafka ({reason}): correct it, or say where Kafka is "
            "with --bootstrap-servers host:port."
        ) from error
    # Airflow's provider imports callbacks by their names.
    return {name: value for name, value in settings.items() if not name.endswith("_cb")}
