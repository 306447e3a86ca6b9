"""The position of a step in each partition of a topic, as the ledger keeps it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from include.kafka.errors import RangeUnavailable, TopicRecreated
from include.kafka.position import UNKNOWN_EPOCH
from include.kafka.ranges import available_offsets, truncated
from include.kafka.reader import read_range

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection
    from include.kafka.ranges import OffsetRange


def progress_scope(item: OffsetRange) -> str:
    """The scope of the ledger entry that has a step's position in the range's partition."""
    return f"{item.topic}/{item.partition}"


def progress_entry(item: OffsetRange, position: int, run: str, *, leader_epoch: int = UNKNOWN_EPOCH) -> dict[str, Any]:
    """A ledger entry: everything before `position` of this incarnation of the topic is done.

    Args:
        leader_epoch: of the last record before `position`, where it is known; see `read_range`.
    """
    entry = {"topic_id": item.topic_id, "position": position, "run": run}
    return entry if leader_epoch == UNKNOWN_EPOCH else {**entry, "leader_epoch": leader_epoch}


def position_in(item: OffsetRange, entry: Mapping[str, Any], *, accept_lost: bool = False) -> int:
    """The next offset to process: not before the range's start and not behind its end.

    Args:
        accept_lost: go on at the range's start although it lies behind the position.

    Raises:
        TopicRecreated: the entry was written for another incarnation of the topic.
        RangeUnavailable: records between the position and the range's start were never processed.
    """
    if entry["topic_id"] != item.topic_id:
        raise TopicRecreated(
            f"Topic {item.topic} has id {item.topic_id} and partition {item.partition} was processed to offset "
            f"{entry['position']} of id {entry['topic_id']}: the topic was deleted and recreated, so its offsets do "
            "not show which records are done; restore the topic or give the pipeline a new name."
        )
    position = int(entry["position"])
    if position < item.start and not accept_lost:
        raise RangeUnavailable(
            f"Topic {item.topic} partition {item.partition} was processed to offset {position} and its range begins "
            f"at {item.start}: retention removed the offsets between before they were processed, so run the step with "
            "accept_lost to go on without them, and raise topics.retention_hours."
        )
    return min(max(item.start, position), item.end)


def refuse_truncated(connection: KafkaConnection, item: OffsetRange, entry: Mapping[str, Any]) -> None:
    """Refuse a log that ends before the position: its next records would be taken for processed ones.

    Raises:
        LogTruncated: see `include.kafka.ranges.truncated`.
    """
    position = int(entry["position"])
    if position > item.end:
        # Another run may have come further since the range was frozen, so ask for the end of the log itself.
        first, end = available_offsets(connection, item.topic, [item.partition])[item.partition]
        if position > end:
            raise truncated(item, position, first, end)


def count_records(connection: KafkaConnection, group: str, ranges: Iterable[OffsetRange], *, enough: int) -> int:
    """How many records the ranges hold, counted until there are `enough`.

    Offsets are not a count: transaction markers and aborted records have offsets too.
    """
    count = 0
    with connection.consumer(group) as consumer:
        for item in ranges:
            for messages in read_range(connection, consumer, item):
                count += len(messages)
                if count >= enough:
                    return count
    return count
