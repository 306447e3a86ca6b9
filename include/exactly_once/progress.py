"""How far a step has come in each partition of a topic, as the ledger keeps it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from include.exactly_once import ledger
from include.exactly_once.ledger import LedgerKey
from include.exactly_once.transaction import TransactionalWriter
from include.kafka.errors import RangeUnavailable, TopicRecreated
from include.kafka.position import UNKNOWN_EPOCH
from include.kafka.ranges import available_offsets, truncated
from include.kafka.reader import read_range

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection
    from include.kafka.ranges import OffsetRange

log = logging.getLogger(__name__)


def progress_key(connection: KafkaConnection, pipeline: str, step: str, item: OffsetRange) -> LedgerKey:
    """Where a step keeps its position in the range's partition."""
    return LedgerKey(connection.environment, pipeline, step, f"{item.topic}/{item.partition}")


def progress_entry(item: OffsetRange, position: int, run: str, *, leader_epoch: int = UNKNOWN_EPOCH) -> dict[str, Any]:
    """A ledger entry: everything before `position` of this incarnation of the topic is done.

    Args:
        leader_epoch: of the last record before `position`, where it is known; see `read_range`.
    """
    entry = {"topic_id": item.topic_id, "position": position, "run": run}
    return entry if leader_epoch == UNKNOWN_EPOCH else {**entry, "leader_epoch": leader_epoch}


def position_in(item: OffsetRange, entry: Mapping[str, Any], *, accept_lost: bool = False) -> int:
    """The next offset to work on, never before the range's start and never behind its end.

    Args:
        accept_lost: go on at the range's start though it lies behind the position.

    Raises:
        TopicRecreated: the entry speaks of another incarnation of the topic.
        RangeUnavailable: records between the position and the range's start were never worked on.
    """
    if entry["topic_id"] != item.topic_id:
        raise TopicRecreated(
            f"Topic {item.topic} has id {item.topic_id} and partition {item.partition} was worked through to offset "
            f"{entry['position']} of id {entry['topic_id']}: the topic was deleted and made again, so nobody can tell "
            "which of its records are done; restore the topic or give the pipeline a new name."
        )
    position = int(entry["position"])
    if position < item.start and not accept_lost:
        raise RangeUnavailable(
            f"Topic {item.topic} partition {item.partition} was worked through to offset {position} and its range "
            f"begins at {item.start}: retention removed the offsets between before anybody worked on them, so run the "
            "step with accept_lost to go on without them, and raise topics.retention_hours."
        )
    return min(max(item.start, position), item.end)


def refuse_truncated(connection: KafkaConnection, item: OffsetRange, entry: Mapping[str, Any]) -> None:
    """Refuse a log that ends before what was worked through: its next records would be taken for done.

    Raises:
        LogTruncated: see `include.kafka.ranges.truncated`.
    """
    position = int(entry["position"])
    if position > item.end:
        # Another run may have come further since the range was frozen, so the log itself is asked.
        first, end = available_offsets(connection, item.topic, [item.partition])[item.partition]
        if position > end:
            raise truncated(item, position, first, end)


def read_progress(
    connection: KafkaConnection, pipeline: str, step: str, ranges: Iterable[OffsetRange]
) -> dict[int, Mapping[str, Any]]:
    """The ledger's entries by partition, for the partitions that have one."""
    keys = {item.partition: progress_key(connection, pipeline, step, item) for item in ranges}
    entries = ledger.read(connection, keys.values())
    return {partition: entries[key] for partition, key in keys.items() if key in entries}


def record_progress(
    connection: KafkaConnection, pipeline: str, step: str, ranges: Iterable[OffsetRange], run: str
) -> None:
    """Note in one transaction that a step has worked through ranges whose results lie outside Kafka."""
    with (
        TransactionalWriter(connection, f"{connection.environment}.{pipeline}.{step}") as writer,
        writer.transaction(),
    ):
        for item in ranges:
            key = progress_key(connection, pipeline, step, item)
            ledger.record(writer, key, progress_entry(item, item.end, run))


def count_records(connection: KafkaConnection, group: str, ranges: Iterable[OffsetRange], *, enough: int) -> int:
    """How many records the ranges hold, counted until there are `enough`.

    Offsets are no measure: markers and aborted records take some too.
    """
    count = 0
    with connection.consumer(group) as consumer:
        for item in ranges:
            for messages in read_range(connection, consumer, item):
                count += len(messages)
                if count >= enough:
                    return count
    return count
