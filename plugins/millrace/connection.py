"""An Airflow connection of the apache-kafka provider's type as a `KafkaConnection`."""

from __future__ import annotations

import os

from include.errors import PermanentError
from include.kafka.connection import KafkaConnection


class NoConnection(PermanentError):
    """The Airflow connection is missing or does not say where Kafka is."""


def environment() -> str:
    """What keeps two installations on one Kafka cluster apart: `MILLRACE_ENVIRONMENT`, or `local`."""
    return os.environ.get("MILLRACE_ENVIRONMENT") or "local"


def kafka_connection(connection_id: str, *, timeout_s: float) -> KafkaConnection:
    """The connection's settings as the provider's hook puts them together, callbacks and cloud tokens included.

    Raises:
        NoConnection: there is no such connection, or it has no `bootstrap.servers`.
    """
    # The hook imports confluent_kafka, which must not happen while DAGs are parsed.
    from airflow.providers.apache.kafka.hooks.base import KafkaBaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    class SettingsHook(KafkaBaseHook):
        """Gives the settings themselves where the provider's hooks give a client."""

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
    return KafkaConnection(settings, timeout_s=timeout_s, environment=environment())
