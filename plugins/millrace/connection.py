"""Airflow connections turned into the library's: Kafka, signing keys and the Schema Registry."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from include.errors import PermanentError
from include.kafka.connection import KafkaConnection
from include.kafka.login import log_in
from include.kafka.schema_registry import SchemaRegistry, registry_at
from include.kafka.settings import is_secret
from include.kafka.signing import SigningKeys

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from include.definition.pipeline import Pipeline
    from include.definition.tables import WorkStep


class NoConnection(PermanentError):
    """The Airflow connection is missing or incomplete."""


def airflow_connection(connection_id: str, purpose: str, kind: str) -> Connection:
    """A connection of Airflow's.

    Args:
        purpose, kind: what it is for, and which one to add, as parts of the error.

    Raises:
        NoConnection: there is no such connection.
    """
    from airflow.sdk.bases.hook import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return BaseHook.get_connection(connection_id)
    except AirflowNotFoundException as error:
        raise NoConnection(
            f"Airflow has no connection {connection_id!r} for {purpose}: set AIRFLOW_CONN_{connection_id.upper()} or "
            f"add one {kind}."
        ) from error


def kafka_connection(connection_id: str, *, timeout_s: float) -> KafkaConnection:
    """The connection with the settings that the provider's hook computes, callbacks and cloud tokens included.

    Raises:
        NoConnection: there is no such connection, or it has no `bootstrap.servers`.
    """
    # The hook imports confluent_kafka, which must not happen while DAGs are parsed.
    from airflow.providers.apache.kafka.hooks.base import KafkaBaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException
    from airflow.sdk.log import mask_secret

    class SettingsHook(KafkaBaseHook):
        """Returns the settings, where the provider's hooks return a client."""

        def _get_client(self, config: dict[str, object]) -> dict[str, object]:
            return config

    try:
        settings: dict[str, object] = SettingsHook(connection_id).get_conn  # type: ignore[no-untyped-call]
    except AirflowNotFoundException as error:
        raise NoConnection(
            f"Airflow has no connection {connection_id!r}: set AIRFLOW_CONN_{connection_id.upper()} or add one of type "
            "Apache Kafka under Admin > Connections."
        ) from error
    except ValueError as error:
        raise NoConnection(
            f"Airflow's connection {connection_id!r} can't be used ({error}): correct its Config Dict under Admin > "
            "Connections."
        ) from error
    for name, value in settings.items():
        if is_secret(name) and isinstance(value, str):
            mask_secret(value)
    return KafkaConnection(settings, timeout_s=timeout_s)


def logged_in(connection_id: str, *, timeout_s: float) -> KafkaConnection:
    """An Airflow connection to Kafka that the broker has accepted.

    Raises:
        NoConnection: see `kafka_connection`.
        AccessDenied, InvalidSettings, BrokerUnavailable: see `log_in`.
    """
    connection = kafka_connection(connection_id, timeout_s=timeout_s)
    log_in(connection)
    return connection


def with_keys(connection: KafkaConnection, pipeline: Pipeline) -> KafkaConnection:
    """The connection with a pipeline's signing keys and its Schema Registry.

    Raises:
        NoConnection: one of their connections is missing or incomplete.
    """
    if pipeline.signing is not None:
        keys = connection_keys(pipeline.signing.connection)
        connection = replace(connection, signing=replace(keys, audience=pipeline.signing.audience))
    if pipeline.registry is not None:
        connection = replace(connection, registry=schema_registry(pipeline.registry.connection))
    return connection


def pipeline_connection(
    pipeline: Pipeline, step: WorkStep, *, connection_id: str | None = None, timeout_s: float
) -> KafkaConnection:
    """The connection of a pipeline's step; see `logged_in` and `with_keys` for the errors.

    Args:
        connection_id: an Airflow connection in place of the pipeline's own.
    """
    return with_keys(logged_in(connection_id or pipeline.connection_of(step), timeout_s=timeout_s), pipeline)


def connection_keys(connection_id: str) -> SigningKeys:
    """The signing keys of a connection: login is the key's id, password the secret. Airflow masks them in logs.

    Its extra may have `retired_secrets`, an object of secrets by key id: they verify and no longer sign.

    Raises:
        NoConnection: there is no such connection, or it lacks login or password.
        InvalidSigningKeys: an id or a secret is not valid.
    """
    from airflow.sdk.log import mask_secret

    kind = "under Admin > Connections, with the key's id as login and the secret as password"
    connection = airflow_connection(connection_id, "signing", kind)
    if not connection.login or not connection.password:
        raise NoConnection(
            f"Airflow's connection {connection_id!r} can't be used for signing: it needs the key's id as login and the "
            "secret as password."
        )
    retired = connection.extra_dejson.get("retired_secrets", {})
    if not isinstance(retired, dict) or not all(isinstance(secret, str) for secret in retired.values()):
        raise NoConnection(
            f"Airflow's connection {connection_id!r} can't be used for signing: retired_secrets in its extra should be "
            "an object of secrets by key id."
        )
    secrets = {**retired, connection.login: connection.password}
    for secret in secrets.values():
        mask_secret(secret)
    return SigningKeys(connection.login, secrets)


def schema_registry(connection_id: str) -> SchemaRegistry:
    """The Schema Registry of a connection, see `registry_at`. Airflow masks its secrets in logs.

    Raises:
        NoConnection: there is no such connection.
        RegistryRefused: it has no host.
    """
    from airflow.sdk.log import mask_secret

    kind = "of type HTTP under Admin > Connections, with the registry's URL as host"
    found = airflow_connection(connection_id, "the Schema Registry", kind)
    registry = registry_at(
        found.host,
        scheme=found.schema,
        port=found.port,
        login=found.login,
        password=found.password,
        extra=found.extra_dejson,
    )
    for secret in (found.password, *registry.secrets):
        if secret:
            mask_secret(secret)
    return registry
