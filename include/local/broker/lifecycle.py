"""The two ways to run the embedded broker: within a `with` block, or in the background until it is stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from include.local.broker.cluster import LOCK_FILE, LOCK_TIMEOUT_S, START_TIMEOUT_S, Cluster
from include.local.broker.jars import LOCK
from include.local.broker.prepare import open_cluster
from include.local.broker.readiness import wait_until_ready
from include.local.errors import BrokerError
from include.storage.locks import locked
from include.storage.state import make_folder, state_dir

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)


def default_data_dir() -> Path:
    """The data folder of the project's broker: `broker` in the state folder."""
    return state_dir() / "broker"


@contextmanager
def running_cluster(
    data_dir: Path | None = None,
    *,
    nodes: int | None = None,
    port: int | None = None,
    secure: bool | None = None,
    properties: Mapping[str, str | int | bool] | None = None,
    timeout_s: float = START_TIMEOUT_S,
    lock: Path = LOCK,
    on_step: Callable[[str], None] = log.info,
) -> Iterator[Cluster]:
    """Run an embedded cluster within a `with` block; its nodes die with this process, even after SIGKILL (on Linux).

    Args:
        data_dir: its data folder, created if missing; the project's own by default.
        nodes: 1 or 3; by default the number of the existing data, else 1.
        port: the first node's, the others follow; by default that of the last start if it is free, else a free one.
        secure: whether clients have to log in, see `include.local.broker.security`; by default as the existing data.
        properties: broker properties that override the defaults.
        timeout_s: seconds for the nodes to become ready.
        lock: the jars' lock file.
        on_step: called with a few words when a slow step begins.

    Raises:
        PortUnavailable: a port is in use.
        BrokerError: it runs already, a jar is not the locked one, or a node does not start.
    """
    folder = _opened(data_dir)
    with locked(folder / LOCK_FILE, timeout_s=LOCK_TIMEOUT_S):
        cluster = open_cluster(folder, nodes=nodes, port=port, secure=secure)
        if running := cluster.running():
            raise BrokerError(
                f"The broker of {cluster.data_dir} runs already (pid {running[0].pid}, {cluster.bootstrap_servers}): "
                "stop it with `millrace broker stop`, or use another data folder."
            )
        cluster.start(tie=True, properties=properties or {}, timeout_s=timeout_s, lock=lock, on_step=on_step)
    try:
        yield cluster
    finally:
        cluster.stop()


def start_in_background(
    data_dir: Path | None = None,
    *,
    nodes: int | None = None,
    port: int | None = None,
    secure: bool | None = None,
    timeout_s: float = START_TIMEOUT_S,
    on_step: Callable[[str], None] = log.info,
) -> tuple[Cluster, bool]:
    """Start a cluster that outlives this process; arguments as for `running_cluster`.

    Returns:
        The cluster with all nodes ready, and whether anything was started.

    Raises:
        PortUnavailable: a port is in use.
        BrokerError: as for `running_cluster`, or it runs already with another size or port.
    """
    folder = _opened(data_dir)
    with locked(folder / LOCK_FILE, timeout_s=LOCK_TIMEOUT_S):
        cluster = open_cluster(folder, nodes=nodes, port=port, secure=secure)
        if len(cluster.running()) == len(cluster.nodes):
            wait_until_ready(cluster.nodes, registered={node.id for node in cluster.nodes}, timeout_s=timeout_s)
            return cluster, False
        cluster.start(tie=False, properties={}, timeout_s=timeout_s, on_step=on_step)
        return cluster, True


def _opened(data_dir: Path | None) -> Path:
    """The data folder, absolute; created for this user only where it is missing."""
    folder = (data_dir or default_data_dir()).expanduser().resolve()
    make_folder(folder, private=True)
    return folder
