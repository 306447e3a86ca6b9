"""A data folder's cluster before it starts: made or read, its ports settled."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from include.local.broker.cluster import Cluster
from include.local.broker.cluster_file import ClusterRecord, NodeRecord, new_cluster_id
from include.local.broker.errors import BrokerError
from include.local.ports import broker_ports, is_free, require_free

if TYPE_CHECKING:
    from pathlib import Path

SIZES = (1, 3)

log = logging.getLogger(__name__)


def open_cluster(data_dir: Path, *, nodes: int | None, port: int | None) -> Cluster:
    """Return the cluster of a data folder, made if there is none, with ports that it can start on.

    The ports of a cluster that runs stay as they are. Otherwise a port asked for is taken or refused, and without one
    the ports of the last start are kept if they are free, so that clients find the broker where it was.

    Args:
        data_dir: absolute, existing.
        nodes: 1 or 3, or None for what the folder was made for (1 for a new one).
        port: of the first node; the others follow.

    Raises:
        BrokerError: the size is another than the data's.
        PortUnavailable: a port cannot be had.
    """
    if nodes is not None and nodes not in SIZES:
        raise BrokerError(
            f"A cluster of {nodes} nodes is not offered: ask for 1, or for 3 to have every topic replicated."
        )
    record = ClusterRecord.load(data_dir)
    if record is None:
        fresh = [NodeRecord(id=number, port=0, controller_port=0) for number in range(1, (nodes or 1) + 1)]
        record = ClusterRecord(cluster_id=new_cluster_id(), nodes=fresh)
    elif nodes not in (None, len(record.nodes)):
        raise BrokerError(
            f"The data in {data_dir} were made for {len(record.nodes)} node(s), not {nodes}: ask for "
            f"{len(record.nodes)}, use another data folder, or stop the broker and delete this one."
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
