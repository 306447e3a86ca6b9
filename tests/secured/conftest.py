"""The secured broker, which ends after the last test that uses it, and connections to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from include.kafka.connection import KafkaConnection
from include.local.broker import Cluster, running_cluster
from tests.support.secured import BROKER_PROPERTIES, Users, plain_connection

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="package")
def secured_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A broker with TLS, SCRAM logins and ACLs; its users have no rights but those that a test grants."""
    with running_cluster(
        tmp_path_factory.mktemp("secured"), nodes=1, secure=True, properties=BROKER_PROPERTIES
    ) as cluster:
        yield cluster


@pytest.fixture(scope="package")
def administrator(secured_broker: Cluster) -> KafkaConnection:
    return plain_connection(secured_broker)


@pytest.fixture(scope="package")
def users(secured_broker: Cluster) -> Users:
    return Users(secured_broker)
