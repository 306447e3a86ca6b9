"""The position of a step in each partition of a topic, as the ledger keeps it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from include.kafka.connection import KafkaConnection, group_of
from include.kafka.errors import LedgerDamaged, RangeUnavailable, TopicRecreated
from include.kafka.position import UNKNOWN_EPOCH
from include.kafka.ranges import OffsetRange, available_offsets, truncated_error
from include.kafka.reader import read_range
from include.kafka.retry import retried
from include.kafka.rights import Right

if TYPE_CHECKING:
    from confluent_kafka import Consumer, TopicPartition

T = TypeVar("T")

# The metadata of a group's offset that no step has reached.
NOT_BEGUN = "nothing is processed yet"


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
        LogTruncated: see `include.kafka.ranges.truncated_error`.
    """
    position = int(entry["position"])
    if position > item.end:
        # Another run may have come further since the range was frozen, so ask for the end of the log itself.
        first, end = available_offsets(connection, item.topic, [item.partition])[item.partition]
        if position > end:
            raise truncated_error(item, position, first, end)


def reaches_further(connection: KafkaConnection, item: OffsetRange, entry: Mapping[str, Any]) -> bool:
    """Whether the position lies behind the range's end, in a log that is as long."""
    position = int(entry["position"])
    if entry["topic_id"] != item.topic_id or position <= item.end:
        return False
    _, end = available_offsets(connection, item.topic, [item.partition])[item.partition]
    return position <= end


def remaining(
    connection: KafkaConnection, item: OffsetRange, entry: Mapping[str, Any], *, accept_lost: bool
) -> tuple[OffsetRange, int]:
    """The part of a range that is not done, and the leader epoch of the record before it, where that is known.

    Args:
        entry: the partition's; empty where it has none.

    Raises:
        TopicRecreated, RangeUnavailable, LogTruncated: see `position_in` and `refuse_truncated`.
    """
    if not entry:
        return item, UNKNOWN_EPOCH
    rest = replace(item, start=position_in(item, entry, accept_lost=accept_lost))
    refuse_truncated(connection, item, entry)
    # The epoch is only valid if we resume exactly at the ledger's position.
    return rest, entry.get("leader_epoch", UNKNOWN_EPOCH) if rest.start == entry["position"] else UNKNOWN_EPOCH


def group_offsets(connection: KafkaConnection, consumer: Consumer, ranges: Sequence[OffsetRange]) -> dict[int, int]:
    """The group's committed offsets by partition of one topic, for the partitions that have one of a step.

    Raises:
        BrokerUnavailable, AccessDenied, KafkaRefused: see `KafkaConnection.explain`.
    """
    found = _committed(connection, consumer, ranges)
    return {item.partition: item.offset for item in found if item.metadata != NOT_BEGUN}


def show_lag(connection: KafkaConnection, group: str, ranges: Sequence[OffsetRange]) -> None:
    """Commit where a step will begin as the group's offsets, so that Kafka's own tools show what waits for it.

    The tools show no lag for a group without offsets. These offsets carry a mark, and `group_offsets` leaves them out.
    So nobody has to be fenced: an attempt whose offset one of these replaces has its position in the ledger.

    Args:
        ranges: of one topic, which the step has not begun.

    Raises:
        BrokerUnavailable, AccessDenied, KafkaRefused: see `KafkaConnection.explain`.
    """
    from confluent_kafka import TopicPartition

    with connection.consumer(group) as consumer:
        known = {item.partition for item in _committed(connection, consumer, ranges)}
        starts = [
            TopicPartition(item.topic, item.partition, item.start, NOT_BEGUN)
            for item in ranges
            if item.partition not in known
        ]
        if not starts:
            return
        rights = [Right("Group", group, "Read"), Right("Topic", ranges[0].topic, "Read")]
        with connection.explained(f"committing the first offsets of {group}", rights=rights):
            _when_coordinated(connection, lambda: consumer.commit(offsets=starts, asynchronous=False))


def _committed(connection: KafkaConnection, consumer: Consumer, ranges: Sequence[OffsetRange]) -> list[TopicPartition]:
    from confluent_kafka import TopicPartition

    partitions = [TopicPartition(item.topic, item.partition) for item in ranges]
    rights = [Right("Group", group_of(consumer), "Read"), Right("Topic", ranges[0].topic, "Read")]
    with connection.explained(f"reading the group's offsets of {ranges[0].topic}", rights=rights):
        found = _when_coordinated(connection, lambda: consumer.committed(partitions, timeout=connection.timeout_s))
    # -1001 is no offset.
    return [item for item in found if item.error is None and item.offset >= 0]


def _when_coordinated(connection: KafkaConnection, request: Callable[[], T]) -> T:
    """Make a request of a group, again while its coordinator is elected or loads the groups, as in a new cluster."""
    from confluent_kafka import KafkaError

    moving = (
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    )
    return retried(connection, request, moving)


def refuse_other_position(item: OffsetRange, entry: Mapping[str, Any], committed: int | None, group: str) -> None:
    """Refuse a position that is not the group's offset, which every transaction of the step writes with it.

    One that lies behind would publish results again, and one that lies ahead would skip records.

    Args:
        entry: the partition's; empty where it has none.
        committed: the group's offset; None where there is none, as it has expired.

    Raises:
        LedgerDamaged: they differ.
    """
    position = entry.get("position")
    if committed is not None and committed != position:
        raise LedgerDamaged(
            f"The ledger has {'no position' if position is None else f'position {position}'} for partition "
            f"{item.partition} of {item.topic} and group {group} has {committed}, though one transaction writes both: "
            "the ledger was changed or restored, or the group's offset was reset, so nothing was done; correct the "
            "entry with `millrace ledger repair`, or delete the group's offset if the ledger is right."
        )


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
