"""A Schema Registry for the envelopes that ask one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from include.kafka.schema_registry import SchemaRegistry, registry_at
from tests.support.registry_server import USER, RegistryServer, running_registry


@pytest.fixture(scope="module")
def server() -> Iterator[RegistryServer]:
    with running_registry() as server:
        yield server


@pytest.fixture(scope="module")
def registry(server: RegistryServer) -> SchemaRegistry:
    user, _, password = USER.partition(":")
    return registry_at(server.url, login=user, password=password)
