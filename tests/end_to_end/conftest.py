"""A Kafka connection to the stack's broker, as the applications around it have."""

from __future__ import annotations

import pytest

from include.kafka.connection import KafkaConnection
from include.local.stack import Stack


@pytest.fixture(scope="session")
def kafka(flow: Stack) -> KafkaConnection:
    return KafkaConnection({"bootstrap.servers": flow.bootstrap_servers}, timeout_s=30)
