"""Readiness of a node: it answers metadata and admin requests, which takes longer than opening its port."""

import socket
import time
from collections.abc import Sequence

from include.local.broker.node import Node
from include.local.broker.security import ADMIN
from include.local.errors import BrokerError
from include.local.ports import LOOPBACK

_POLL_S = 0.05
_REQUEST_S = 2.0


def wait_until_ready(nodes: Sequence[Node], *, registered: set[int], timeout_s: float) -> None:
    """Return when each of `nodes` answers for itself and sees all `registered` nodes and a controller.

    Raises:
        BrokerError: a node ended, or time is up; with the end of the node's log.
    """
    deadline = time.monotonic() + timeout_s
    for node in nodes:
        problem = "nothing listens on its port"
        while (found := why_not_ready(node, registered=registered)) is not None:
            problem = found
            if node.process() is None:
                raise BrokerError(
                    f"Node {node.id} of the embedded broker ended at its start ({_exit_reason(node.exit_status())}): "
                    f"correct the cause in its log, and start again.\n{node.log_tail()}"
                )
            if time.monotonic() > deadline:
                raise BrokerError(
                    f"Node {node.id} of the embedded broker was not ready within {timeout_s:.0f} s ({problem}): look "
                    f"at its log, or allow more time.\n{node.log_tail()}"
                )
            time.sleep(_POLL_S)


def why_not_ready(node: Node, *, registered: set[int]) -> str | None:
    """Query one node once; None if it is ready, else what is missing."""
    try:
        socket.create_connection((LOOPBACK, node.record.port), timeout=_REQUEST_S).close()
    except OSError as error:
        return f"{node.address} does not accept connections: {error}"

    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

    # Emergencies only: a broker that is still starting is no error.
    settings: dict[str, str | int | float | bool] = {
        **(node.security.client(ADMIN) if node.security else {}),
        "bootstrap.servers": node.address,
        "log_level": 0,
        "socket.timeout.ms": int(_REQUEST_S * 1000),
    }
    with AdminClient(settings) as admin:
        try:
            metadata = admin.list_topics(timeout=_REQUEST_S)
            if missing := registered - set(metadata.brokers):
                return f"{node.address} does not see node {min(missing)} yet"
            if metadata.controller_id < 0:
                return f"{node.address} knows no controller yet"
            # The controller validates this against all live brokers, and creates nothing.
            probe = NewTopic("millrace.readiness", num_partitions=1, replication_factor=len(registered))
            answers = [
                *admin.create_topics([probe], validate_only=True, request_timeout=_REQUEST_S).values(),
                *admin.describe_configs(
                    [ConfigResource(ResourceType.BROKER, str(node.id))], request_timeout=_REQUEST_S
                ).values(),
            ]
            for answer in answers:
                answer.result(timeout=2 * _REQUEST_S)
        except (KafkaException, TimeoutError) as error:
            return f"{node.address} does not answer: {error}"
    return None


def _exit_reason(status: int | None) -> str:
    if status is None:
        return "its exit status is unknown"
    return f"killed by signal {-status}" if status < 0 else f"exit status {status}"
