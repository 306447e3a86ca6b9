"""Preparation of a data folder's cluster: create or read it, and choose its ports."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from include.local.broker.cluster import Cluster
from include.local.broker.cluster_file import ClusterRecord, NodeRecord, new_cluster_id
from include.local.errors import BrokerError
from include.local.ports import broker_ports, is_free, require_free

if TYPE_CHECKING:
    from pathlib import Path

SIZES = (1, 3)

log = logging.getLogger(__name__)


def open_cluster(data_dir: Path, *, nodes: int | None, port: int | None, secure: bool | None = None) -> Cluster:
    """The cluster of a data folder, created if there is none, with ports that it can start on.

    A running cluster keeps its ports. Otherwise a given `port` is used or refused, and by default the ports of the last
    start are kept if they are free, so that clients find the broker again.

    Args:
        data_dir: absolute, existing.
        nodes: 1 or 3, or None for the number of the existing data (1 for a new folder).
        port: of the first node; the others follow.
        secure: whether clients have to log in, or None for what the existing data have (False for a new folder).

    Raises:
        BrokerError: the data have another number of nodes, or are of a cluster with or without login.
        PortUnavailable: a port is not free.
    """
    if nodes is not None and nodes not in SIZES:
        raise BrokerError(f"A cluster of {nodes} nodes is not supported: choose 1, or 3 for replicated topics.")
    record = ClusterRecord.load(data_dir)
    if record is None:
        fresh = [NodeRecord(id=number, port=0, controller_port=0) for number in range(1, (nodes or 1) + 1)]
        record = ClusterRecord(cluster_id=new_cluster_id(), secure=bool(secure), nodes=fresh)
    elif nodes not in (None, len(record.nodes)):
        raise BrokerError(
            f"The data in {data_dir} are those of {len(record.nodes)} node(s), not {nodes}: choose "
            f"{len(record.nodes)}, use another data folder, or stop the broker and delete this one."
        )
    if secure not in (None, record.secure):
        raise BrokerError(
            f"The data in {data_dir} are those of a cluster {'with' if record.secure else 'without'} login, which "
            "can't be changed: use another data folder, or stop the broker and delete this one."
        )
    cluster = Cluster.of(data_dir, record)
    if cluster.running():
        if port not in (None, record.nodes[0].port):
            raise BrokerError(
                f"The broker of {data_dir} runs already on port {record.nodes[0].port}, not {port}: stop it first."
            )
        return cluster
    _settle_ports(record, port)
    record.save(data_dir)
    return cluster


def _settle_ports(record: ClusterRecord, port: int | None) -> None:
    known = [node.port for node in record.nodes]
    if port is not None:
        wanted = list(range(port, port + len(record.nodes)))
        for number in wanted:
            require_free(number, f"--port {port} asks for it", "choose another port, or none to get a free one")
    elif all(known) and all(map(is_free, known)):
        wanted = known
    else:
        wanted = broker_ports(len(known))
        if all(known):
            log.warning("Port %d of the last start is in use: the broker now has port %d.", known[0], wanted[0])
    taken = set(wanted)
    for node, chosen in zip(record.nodes, wanted, strict=True):
        node.port = chosen
        if not node.controller_port or node.controller_port in taken or not is_free(node.controller_port):
            [node.controller_port] = broker_ports(1, taken=taken)
        taken.add(node.controller_port)
