"""An unclean election: a replica that missed records becomes leader, and its offsets are given to other records."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from include.exactly_once.progress import progress_entry, refuse_truncated
from include.kafka.connection import KafkaConnection
from include.kafka.errors import LogTruncated
from include.kafka.position import UNKNOWN_EPOCH, leader_epoch_of
from include.kafka.ranges import OffsetRange, check_ranges, freeze_ranges
from include.kafka.reader import read_range
from include.local.broker import running_cluster
from tests.faults.rows import Row, Setting
from tests.support.processes import wait_for

TOPIC = "elected"
KEPT, LOST = 10, 10
# For an election, or for a node to start, on a loaded machine.
TIMEOUT_S = 180


def run(setting: Setting) -> list[Row]:
    """Lose the tail of a processed log, and check that it is refused while it is shorter and after it has grown."""
    with running_cluster(setting.folder / "cluster", nodes=3, timeout_s=TIMEOUT_S) as cluster:
        kafka = KafkaConnection({"bootstrap.servers": cluster.bootstrap_servers})
        leader, follower, _ = cluster.nodes
        _make_topic(kafka, [leader.id, follower.id])
        # Both replicas have these, so it does not matter which of the two leads when the follower is killed.
        _produce(kafka, KEPT, acks="all")
        follower.kill()
        _produce(kafka, LOST)
        # Consumers see these records once the dead follower has left the in-sync replicas.
        decided = "the follower to leave the in-sync replicas"
        wait_for(lambda: freeze_ranges(kafka, TOPIC)[0].end >= KEPT + LOST, decided, timeout_s=TIMEOUT_S)
        worked_through = freeze_ranges(kafka, TOPIC)[0]
        epoch = _read(kafka, worked_through)
        entry = progress_entry(worked_through, worked_through.end, "a run", leader_epoch=epoch)

        setting.say("the leader is killed, and only the replica that missed records is left")
        leader.kill()
        follower.start()
        _produce(kafka, 1)
        shorter = freeze_ranges(kafka, TOPIC)[0]
        assert shorter.end < worked_through.end, "the tail was not lost"
        refusals = [
            _refused(lambda: refuse_truncated(kafka, shorter, entry)),
            _refused(lambda: check_ranges(kafka, [worked_through])),
        ]

        _produce(kafka, KEPT + LOST)
        longer = freeze_ranges(kafka, TOPIC)[0]
        assert longer.end > worked_through.end, "the log has not grown beyond what it was"
        left = replace(longer, start=worked_through.end)
        refusals.append(_refused(lambda: _read(kafka, left, leader_epoch=epoch)))
    return [
        Row(
            "unclean election: a log that lost its tail is refused, though it has grown again",
            times=len(refusals),
            lost=refusals.count(False),
            duplicated=0,
            recovered_s=None,
        )
    ]


def _refused(action: Callable[[], object]) -> bool:
    try:
        action()
    except LogTruncated:
        return True
    return False


def _make_topic(kafka: KafkaConnection, replicas: list[int]) -> None:
    careless = {"unclean.leader.election.enable": "true", "min.insync.replicas": "1"}
    topic = NewTopic(TOPIC, num_partitions=1, replica_assignment=[replicas], config=careless)
    with AdminClient(dict(kafka.settings)) as admin:
        admin.create_topics([topic])[TOPIC].result(TIMEOUT_S)


def _produce(kafka: KafkaConnection, records: int, *, acks: str = "1") -> None:
    """Write records that only the leader has to have, or all in-sync replicas; again until there is a leader."""
    deadline = time.monotonic() + TIMEOUT_S
    failures: list[str] = []
    producer = Producer({**kafka.settings, "acks": acks, "message.timeout.ms": TIMEOUT_S * 1000})
    for number in range(records):
        producer.produce(
            TOPIC,
            str(number).encode(),
            partition=0,
            on_delivery=lambda error, _: failures.append(str(error)) if error else None,
        )
    assert producer.flush(max(deadline - time.monotonic(), 0)) == 0
    assert failures == []


def _read(kafka: KafkaConnection, item: OffsetRange, *, leader_epoch: int = UNKNOWN_EPOCH) -> int:
    """Read a range and return the leader epoch of its last record."""
    epoch = UNKNOWN_EPOCH
    with kafka.consumer("election") as consumer:
        for messages in read_range(kafka, consumer, item, leader_epoch=leader_epoch):
            epoch = leader_epoch_of(messages[-1])
    return epoch
