"""Kill, restart and suspend brokers while the steps run; see `run`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from random import Random

from include.kafka.connection import KafkaConnection
from include.local.broker import Cluster, Node, running_cluster
from tests.faults.background_work import PIECE_TIMEOUT_S, BackgroundWork
from tests.faults.rows import Row, Setting, middle
from tests.faults.witness import Witness
from tests.faults.workloads import Ingest, Prediction, Training, Work
from tests.support.attempts import Workers
from tests.support.processes import wait_for

# Longer than the session timeout of the embedded cluster, three seconds.
SILENCE_S = 8.0
MAJORITY_GONE_S = 20.0
DOWN_S = 5.0
# Pieces of prediction for a whole run. A piece takes 1.2 s or more, so these last for 20 minutes.
PIECES = 1000
# Seconds for a node to start on a loaded machine.
START_S = 180.0
ELECTION_S = 60.0


@dataclass(frozen=True)
class Fault:
    """A function that disturbs brokers, and how many of them it hits one after the other."""

    inflict: Callable[[], None]
    times: int = 1


def run(setting: Setting) -> list[Row]:
    """Disturb one node, then three, while ingest, prediction and training run in parallel.

    An attempt that fails with a temporary error is retried as Airflow would. The seconds to recover run from the start
    of the fault until each of the three steps has finished the piece that the fault interrupted.
    """
    with Workers(setting.folder / "workers.log") as workers:
        rows = list(_disturb(setting, workers, nodes=1))
        if not setting.short:
            rows += _disturb(setting, workers, nodes=3)
    return rows


def _disturb(setting: Setting, workers: Workers, *, nodes: int) -> Iterator[Row]:
    folder, draws = setting.folder / f"nodes-{nodes}", setting.random(f"faults of {nodes} nodes")
    with running_cluster(folder / "brokers", nodes=nodes, timeout_s=START_S) as cluster:
        kafka = KafkaConnection({"bootstrap.servers": cluster.bootstrap_servers})
        works: list[Work] = [
            Ingest(kafka, "ingest", records=400, chunk=20, pace_s=0.1, replication=nodes),
            Prediction(kafka, "predict", pieces=PIECES, requests=60, chunk=5, pace_s=0.1, replication=nodes),
            Training(kafka, "train", folder, epochs=16, replication=nodes),
        ]
        flows = [BackgroundWork(workers, work, setting.random(f"{work.name} on {nodes} nodes")) for work in works]
        witnessed = {topic: identity for work in works for topic, identity in work.witnessed.items()}
        known = (0, 0)
        with Witness(kafka, witnessed) as witness:
            for name, faults in _faults(cluster, draws, short=setting.short).items():
                setting.say(f"{name}, {sum(fault.times for fault in faults)} times")
                recovered = _recovered(flows, faults, draws)
                verdicts = [flow.work.verdict(witness, len(flow.finished)) for flow in flows]
                lost, duplicated = (sum(counts) for counts in zip(*verdicts, strict=True))
                yield Row(
                    name,
                    sum(fault.times for fault in faults),
                    lost - known[0],
                    duplicated - known[1],
                    middle(recovered),
                )
                known = lost, duplicated
        for flow in flows:
            for text in flow.retried:
                setting.say(f"{flow.work.name} was retried after: {text}")


def _recovered(flows: list[BackgroundWork], faults: list[Fault], draws: Random) -> list[float]:
    """Inflict the faults in turn, each after recovery from the one before; returns the seconds each recovery took."""
    seconds = []
    for flow in flows:
        flow.begin()
    for fault in faults:
        time.sleep(draws.uniform(0.5, 2.5))
        hit = [len(flow.finished) for flow in flows]
        began = time.monotonic()
        fault.inflict()
        for flow, piece in zip(flows, hit, strict=True):
            wait_for(partial(flow.finishes, piece + 1), f"{flow.work.name} to succeed", timeout_s=PIECE_TIMEOUT_S)
        seconds.append(max(flow.finished[piece] for flow, piece in zip(flows, hit, strict=True)) - began)
    for flow in flows:
        flow.end()
    return seconds


def _faults(cluster: Cluster, draws: Random, *, short: bool) -> dict[str, list[Fault]]:
    """The faults by the name of their row."""
    nodes = draws.sample(cluster.nodes, len(cluster.nodes))

    def kill(*some: Node) -> Fault:
        return Fault(partial(_kill, some, draws.uniform(0, DOWN_S)))

    if len(nodes) == 1:
        [node] = nodes
        if short:
            return {"the only node: SIGKILL and restart": [kill(node)]}
        return {
            "the only node: SIGKILL and restart": [kill(node) for _ in range(4)],
            "the only node: clean restart": [Fault(partial(_restart, node)) for _ in range(2)],
            f"the only node: SIGSTOP for {SILENCE_S:g} s": [Fault(partial(_silence, node)) for _ in range(2)],
        }
    return {
        "three nodes: SIGKILL of each in turn": [kill(node) for node in nodes],
        "three nodes: SIGKILL of the active controller": [
            Fault(lambda: _kill([active_controller(cluster)], draws.uniform(0, DOWN_S))) for _ in range(2)
        ],
        "three nodes: rolling restart, clean": [Fault(partial(_one_by_one, _restart, nodes), times=3)],
        "three nodes: rolling restart by SIGKILL": [Fault(partial(_one_by_one, _kill_one, nodes), times=3)],
        f"three nodes: SIGSTOP of each in turn for {SILENCE_S:g} s": [Fault(partial(_silence, node)) for node in nodes],
        f"three nodes: two down for {MAJORITY_GONE_S:g} s": [
            Fault(partial(_kill, pair, MAJORITY_GONE_S)) for pair in (nodes[:2], nodes[1:])
        ],
    }


def _kill(nodes: Iterable[Node], down_s: float) -> None:
    for node in nodes:
        node.kill()
    time.sleep(down_s)
    for node in nodes:
        node.start()


def _kill_one(node: Node) -> None:
    _kill([node], down_s=0)


def _restart(node: Node) -> None:
    node.stop()
    node.start()


def _silence(node: Node) -> None:
    node.process().suspend()
    try:
        time.sleep(SILENCE_S)
    finally:
        node.process().resume()


def _one_by_one(disturb: Callable[[Node], None], nodes: Iterable[Node]) -> None:
    for node in nodes:
        disturb(node)


def active_controller(cluster: Cluster) -> Node:
    """The node that leads the controller quorum; the controller in a broker's metadata may be any node."""
    leaders: list[Node] = []

    def is_elected() -> bool:
        states = [
            json.loads((node.log_dir / "__cluster_metadata-0" / "quorum-state").read_text(encoding="utf-8"))
            for node in cluster.nodes
        ]
        # During an election the newest epoch has no leader yet, whose id is then -1.
        leader = max(states, key=lambda state: int(state["leaderEpoch"]))["leaderId"]
        leaders.extend(node for node in cluster.nodes if node.id == leader)
        return bool(leaders)

    wait_for(is_elected, "the controllers to have a leader", timeout_s=ELECTION_S)
    return leaders[0]
