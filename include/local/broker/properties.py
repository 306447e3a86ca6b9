"""The settings of a node: small, quick to start, and as durable as one machine allows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from include.local.broker.cluster_file import ClusterRecord, NodeRecord
from include.local.broker.security import write_secret
from include.local.errors import BrokerError
from include.local.ports import LOOPBACK

if TYPE_CHECKING:
    from pathlib import Path


def node_properties(cluster: ClusterRecord, node: NodeRecord, extra: Mapping[str, str | int | bool]) -> dict[str, str]:
    """The properties of one node (all but `log.dirs`); `extra` overrides the defaults.

    Raises:
        BrokerError: `extra` names a property that the cluster's own record depends on.
    """
    copies = min(3, len(cluster.nodes))
    in_sync = min(2, copies)
    voters = ",".join(f"{voter.id}@{LOOPBACK}:{voter.controller_port}" for voter in cluster.nodes)
    defaults: dict[str, str | int | bool] = {
        "auto.create.topics.enable": False,
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": copies,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": in_sync,
        "share.coordinator.state.topic.num.partitions": 4,
        "group.initial.rebalance.delay.ms": 0,
        # A starting or stopping node waits for heartbeats; at Kafka's default of 2 s they take most of its time.
        "broker.heartbeat.interval.ms": 500,
        # After a SIGKILL a node can rejoin when its old session has expired, by default 9 s later.
        "broker.session.timeout.ms": 3000,
        # The cleaner allocates this much heap, 128 MiB by default; 4 MiB hold 150,000 keys a pass.
        "log.cleaner.dedupe.buffer.size": 4 * 1024 * 1024,
        "num.network.threads": 2,
        "num.io.threads": 4,
    }
    protocol, controllers = ("SASL_SSL", "SSL") if cluster.secure else ("PLAINTEXT", "PLAINTEXT")
    own: dict[str, str | int | bool] = {
        "process.roles": "broker,controller",
        "node.id": node.id,
        "controller.quorum.voters": voters,
        "controller.listener.names": "CONTROLLER",
        "listeners": f"{protocol}://{LOOPBACK}:{node.port},CONTROLLER://{LOOPBACK}:{node.controller_port}",
        "advertised.listeners": f"{protocol}://{LOOPBACK}:{node.port}",
        "listener.security.protocol.map": f"{protocol}:{protocol},CONTROLLER:{controllers}",
        "inter.broker.listener.name": protocol,
    }
    if refused := sorted({*own, "log.dirs"} & extra.keys()):
        raise BrokerError(
            f"The property {refused[0]}={extra[refused[0]]} cannot be set, because the embedded broker sets it itself: "
            "leave it out; number of nodes, port and data folder have arguments of their own."
        )
    return {key: _text(value) for key, value in {**defaults, **extra, **own}.items()}


def write_properties(path: Path, properties: Mapping[str, str]) -> None:
    """Write a Java properties file, which may contain passwords."""
    write_secret(path, "".join(f"{key}={_escaped(value)}\n" for key, value in properties.items()))


def _text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _escaped(value: str) -> str:
    """Escape backslashes, line ends and non-ASCII characters; Java's properties and JSON share these escapes."""
    return json.dumps(value)[1:-1]
