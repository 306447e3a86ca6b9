"""The nodes of one data folder, started and stopped together."""

from __future__ import annotations

import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from include.local.broker.cluster_file import ClusterRecord
from include.local.broker.jars import LOCK, verified_classpath
from include.local.broker.java import find_java
from include.local.broker.node import Node, Runtime
from include.local.broker.properties import node_properties
from include.local.broker.readiness import wait_until_ready
from include.local.broker.security import ADMIN, Security, secure_properties
from include.local.errors import BrokerError
from include.storage.locks import locked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 30.0
LOCK_FILE = ".lock"
SECURITY_FOLDER = "security"
LOCK_TIMEOUT_S = 180.0

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Cluster:
    """The cluster of one data folder, running or not."""

    data_dir: Path
    record: ClusterRecord
    nodes: tuple[Node, ...]
    security: Security | None = None
    _starter_thread: ThreadPoolExecutor | None = field(default=None, repr=False)

    @classmethod
    def load(cls, data_dir: Path) -> Cluster | None:
        """The cluster of a data folder, None if none was ever created.

        Raises:
            BrokerError: its record cannot be read.
        """
        data_dir = data_dir.expanduser().resolve()
        record = ClusterRecord.load(data_dir)
        return cls.of(data_dir, record) if record else None

    @classmethod
    def of(cls, data_dir: Path, record: ClusterRecord) -> Cluster:
        """The cluster of a record and its data folder (absolute)."""
        security = Security(data_dir / SECURITY_FOLDER) if record.secure else None
        nodes = tuple(Node(node, data_dir / f"node-{node.id}", security) for node in record.nodes)
        return cls(data_dir, record, nodes, security)

    @property
    def bootstrap_servers(self) -> str:
        """`host:port` of all nodes, joined by commas."""
        return ",".join(node.address for node in self.nodes)

    def client_settings(self, user: str = ADMIN) -> dict[str, str]:
        """librdkafka's settings for a client: the address, and in a secured cluster the login of a user."""
        login = self.security.client(user) if self.security else {}
        return {"bootstrap.servers": self.bootstrap_servers, **login}

    def running(self) -> list[Node]:
        """The nodes that have a process."""
        return [node for node in self.nodes if node.process() is not None]

    def stop(self, *, timeout_s: float = STOP_TIMEOUT_S) -> list[Node]:
        """Stop all nodes cleanly and return those that ran; one that takes longer than the timeout is killed."""
        with locked(self.data_dir / LOCK_FILE, timeout_s=LOCK_TIMEOUT_S):
            stopped = self.running()
            for node in stopped:
                node.terminate()
            deadline = time.monotonic() + timeout_s
            for node in stopped:
                node.stop(timeout_s=max(0.0, deadline - time.monotonic()))
        self._end_starter_thread()
        return stopped

    def _end_starter_thread(self) -> None:
        if self._starter_thread is not None:
            self._starter_thread.shutdown()
            self._starter_thread = None

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()

    def start(
        self,
        *,
        tie: bool,
        properties: Mapping[str, str | int | bool],
        timeout_s: float,
        lock: Path = LOCK,
        on_step: Callable[[str], None] = log.info,
    ) -> None:
        """Start the nodes that have no process and wait until all are ready; the caller holds the folder's lock.

        Args:
            tie: whether the nodes die with this process.

        Raises:
            BrokerError: a jar is not the locked one, or a node does not start; no process started here is left.
        """
        absent = [node for node in self.nodes if node.process() is None]
        if self.security is not None:
            self.data_dir.chmod(0o700)
            self.security.create()
            self.security.write_client_files(self.bootstrap_servers)
        properties = {**secure_properties(self.security), **properties}
        settings = {node.id: node_properties(self.record, node.record, properties) for node in absent}
        runtime = Runtime(find_java(), os.pathsep.join(map(str, verified_classpath(lock, on_step=on_step))))
        if tie:
            # The kernel kills a tied broker with the *thread* that started it, so that thread must stay alive.
            self._starter_thread = ThreadPoolExecutor(1, thread_name_prefix="broker-starter")

        def spawn(node: Node) -> None:
            if self._starter_thread is not None:
                self._starter_thread.submit(node.spawn, runtime, tie=True).result()
            else:
                node.spawn(runtime, tie=False)
            self.record.save(self.data_dir)

        def start_again(node: Node, wait: bool) -> None:
            if node.process() is not None:
                raise BrokerError(
                    f"Node {node.id} (pid {node.pid}) runs already: stop or kill it before it is started."
                )
            if tie and self._starter_thread is None:
                raise BrokerError(f"Node {node.id} cannot be started: the cluster of {self.data_dir} has been stopped.")
            spawn(node)
            if wait:
                wait_until_ready([node], registered={node.id}, timeout_s=timeout_s)

        for node in self.nodes:
            node.starter = start_again
        try:
            on_step(f"Starting {len(absent)} of {len(self.nodes)} nodes on {self.bootstrap_servers}")
            with ThreadPoolExecutor(len(self.nodes)) as pool:
                list(pool.map(lambda node: node.prepare(runtime, self.record.cluster_id, settings[node.id]), absent))
            for node in absent:
                spawn(node)
            wait_until_ready(self.nodes, registered={node.id for node in self.nodes}, timeout_s=timeout_s)
        except BaseException:
            for node in absent:
                node.kill()
            self._end_starter_thread()
            raise
