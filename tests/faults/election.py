"""An unclean election: a replica that missed records becomes leader, and its offsets are given to other records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from include.exactly_once.progress import progress_entry, refuse_truncated
from include.kafka.connection import KafkaConnection
from include.kafka.errors import LogTruncated
from include.kafka.position import UNKNOWN_EPOCH, leader_epoch_of
from include.kafka.ranges import OffsetRange, check_ranges, freeze_ranges
from include.kafka.reader import read_range
from include.local.broker import running_cluster
from tests.faults.rows import Row, Setting
from tests.support.elections import lose_tail
from tests.support.producers import numbered, produce

TOPIC = "elected"
KEPT, LOST = 10, 10


def run(setting: Setting) -> list[Row]:
    """Lose the tail of a processed log, and check that it is refused while it is shorter and after it has grown."""
    with running_cluster(setting.folder / "cluster", nodes=3) as cluster:
        kafka = KafkaConnection({"bootstrap.servers": cluster.bootstrap_servers})
        processed: list[tuple[OffsetRange, int]] = []

        def process() -> None:
            (whole,) = freeze_ranges(kafka, TOPIC)
            processed.append((whole, _read(kafka, whole)))
            setting.say("the leader is killed, and only the replica that missed records is left")

        records = numbered(*range(KEPT + LOST))
        lose_tail(cluster, kafka, TOPIC, kept=records[:KEPT], lost=records[KEPT:], work=process)
        ((whole, epoch),) = processed
        entry = progress_entry(whole, whole.end, "a run", leader_epoch=epoch)
        (shorter,) = freeze_ranges(kafka, TOPIC)
        refusals = [
            _refused(lambda: refuse_truncated(kafka, shorter, entry)),
            _refused(lambda: check_ranges(kafka, [whole])),
        ]

        produce(kafka, TOPIC, numbered(*range(KEPT + LOST)))
        (longer,) = freeze_ranges(kafka, TOPIC)
        assert longer.end > whole.end, "the log has not grown beyond what it was"
        left = replace(longer, start=whole.end)
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


def _read(kafka: KafkaConnection, item: OffsetRange, *, leader_epoch: int = UNKNOWN_EPOCH) -> int:
    """Read a range and return the leader epoch of its last record."""
    epoch = UNKNOWN_EPOCH
    with kafka.consumer("election") as consumer:
        for messages in read_range(kafka, consumer, item, leader_epoch=leader_epoch):
            epoch = leader_epoch_of(messages[-1])
    return epoch
