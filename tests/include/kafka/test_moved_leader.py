"""The node that a range is read from dies: the reading goes on from the next leader, and no record is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.kafka.columns import Columns
from include.kafka.connection import KafkaConnection
from include.kafka.ranges import freeze_ranges
from include.kafka.reader import read_columns, read_ranges
from include.kafka.topics import TopicSpec, ensure_topics
from include.local.broker import running_cluster
from tests.support.producers import Record, produce

RECORDS, BYTES = 30_000, 1_000
# For an election on a loaded machine.
TIMEOUT_S = 120


@pytest.mark.long
def test_a_reading_goes_on_from_the_next_leader(tmp_path: Path) -> None:
    """Both readings at once: each is in the middle when the leader is killed."""
    with running_cluster(tmp_path, nodes=3) as cluster:
        kafka = KafkaConnection({"bootstrap.servers": cluster.bootstrap_servers}, timeout_s=TIMEOUT_S)
        ensure_topics(kafka, [TopicSpec("moved", 1, replication=3)])
        values = [str(number).encode().zfill(BYTES) for number in range(RECORDS)]
        produce(kafka, "moved", [Record(value) for value in values])
        ranges = freeze_ranges(kafka, "moved")
        by_message = (
            [message.value() for message in messages] for _, messages in read_ranges(kafka, "messages", ranges)
        )
        batches = read_columns(kafka, "columns", ranges)
        by_columns = (list(batch.values) for _, batch in batches if isinstance(batch, Columns))
        readings = [by_message, by_columns]
        found = [next(reading) for reading in readings]
        assert max(map(len, found)) < RECORDS / 2

        with kafka.admin() as admin:
            leader = admin.list_topics("moved").topics["moved"].partitions[0].leader
        next(node for node in cluster.nodes if node.id == leader).kill()

        for reading, begun in zip(readings, found, strict=True):
            begun += [value for batch in reading for value in batch]
            assert [bytes(value) for value in begun] == values
