"""Offset ranges: a frozen `[start, end)` of one partition of one incarnation of a topic."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from include.kafka.errors import LogTruncated, RangeUnavailable, TopicRecreated
from include.kafka.topics import POLL_S, describe_topic

if TYPE_CHECKING:
    from confluent_kafka import IsolationLevel, TopicPartition
    from confluent_kafka.admin import AdminClient, OffsetSpec

    from include.kafka.connection import KafkaConnection

SETTLE_S = 5.0


@dataclass(frozen=True, order=True)
class OffsetRange:
    """Offsets `start` to `end` (exclusive) of a partition.

    Offsets are not records: transaction markers, aborted records and compacted gaps take offsets too, so `offsets` is
    an upper bound of the number of records.
    """

    topic: str
    topic_id: str
    partition: int
    start: int
    end: int

    @property
    def offsets(self) -> int:
        return self.end - self.start

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> OffsetRange:
        return cls(
            topic=str(values["topic"]),
            topic_id=str(values["topic_id"]),
            partition=int(values["partition"]),
            start=int(values["start"]),
            end=int(values["end"]),
        )


@dataclass(frozen=True)
class TopicState:
    """A topic's id, and the first and one-past-last committed offset of partitions, at one moment."""

    topic_id: str
    bounds: Mapping[int, tuple[int, int]]


def available_offsets(
    connection: KafkaConnection, topic: str, numbers: Collection[int], *, committed: bool = True
) -> dict[int, tuple[int, int]]:
    """First and one-past-last offset by partition.

    Args:
        committed: True for the last stable offset, beyond which transactions are open; False for the high watermark.
    """
    from confluent_kafka import IsolationLevel, TopicPartition
    from confluent_kafka.admin import OffsetSpec

    level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
    partitions = [TopicPartition(topic, number) for number in numbers]
    with connection.admin() as admin:
        # Without the leaders in its metadata, a client stalls for seconds in some list_offsets calls.
        connection.partitions(admin, topic)
        first, end = (
            _list_offsets(connection, admin, dict.fromkeys(partitions, spec), level)
            for spec in (OffsetSpec.earliest(), OffsetSpec.latest())
        )
    return {number: (first[number], end[number]) for number in numbers}


def _list_offsets(
    connection: KafkaConnection, admin: AdminClient, asked: dict[TopicPartition, OffsetSpec], level: IsolationLevel
) -> dict[int, int]:
    """Offsets by partition, retried while a partition elects its leader."""
    from confluent_kafka import KafkaError, KafkaException

    moving = (
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError._NOENT,  # no partition has a known leader
        # A new leader does not know its last stable offset yet, which is no sign of a lost tail.
        KafkaError.OFFSET_NOT_AVAILABLE,
    )
    deadline = time.monotonic() + connection.timeout_s
    while True:
        futures = admin.list_offsets(asked, isolation_level=level, request_timeout=connection.timeout_s)
        try:
            offsets = {
                partition.partition: future.result(timeout=connection.timeout_s + 5).offset
                for partition, future in futures.items()
            }
            if min(offsets.values(), default=0) < 0:
                # Under load librdkafka returns offset -1 without an error.
                raise KafkaException(KafkaError(KafkaError.OFFSET_NOT_AVAILABLE))  # noqa: TRY301 - as if it had
        except KafkaException as error:
            topic = next(iter(asked)).topic
            if error.args[0].code() not in moving or time.monotonic() > deadline:
                raise connection.explain(error, f"listing offsets of {topic}", topic=topic) from error
            time.sleep(POLL_S)
        else:
            return offsets


def freeze_ranges(
    connection: KafkaConnection,
    topic: str,
    *,
    settle_s: float = SETTLE_S,
) -> list[OffsetRange]:
    """Freeze every partition of a topic at its last stable offset.

    A commit returns before its markers are in every partition. So a freeze waits a moment until all that is written by
    then is committed or aborted.

    Args:
        settle_s: limit of this wait; the next freeze covers a transaction that is open for longer.

    Returns:
        One range per partition from its first record on, empty ones included, in order of partition.

    Raises:
        TopicMissing: the topic does not exist.
    """
    info = describe_topic(connection, topic)
    settled = _settled_offsets(connection, topic, info.partitions, settle_s)
    return [OffsetRange(topic, info.topic_id, partition, first, end) for partition, (first, end) in settled.items()]


def _settled_offsets(
    connection: KafkaConnection, topic: str, numbers: Collection[int], settle_s: float
) -> dict[int, tuple[int, int]]:
    written = available_offsets(connection, topic, numbers, committed=False)
    deadline = time.monotonic() + settle_s
    while True:
        decided = available_offsets(connection, topic, numbers)
        if all(decided[number][1] >= written[number][1] for number in numbers) or time.monotonic() > deadline:
            return decided
        time.sleep(POLL_S)


def check_ranges(connection: KafkaConnection, ranges: Iterable[OffsetRange]) -> None:
    """Refuse ranges that can no longer be read completely.

    Raises:
        TopicMissing: the topic does not exist.
        TopicRecreated: the topic was deleted and recreated; its offsets belong to other records now.
        RangeUnavailable: retention has cut into a range.
        LogTruncated: the log ends before a range does.
    """
    by_topic: dict[str, list[OffsetRange]] = {}
    for item in ranges:
        by_topic.setdefault(item.topic, []).append(item)
    for topic, items in by_topic.items():
        state = topic_state(connection, topic, [item.partition for item in items])
        for item in items:
            check_range(item, state)


def topic_state(connection: KafkaConnection, topic: str, numbers: Collection[int]) -> TopicState:
    """A topic as it is now.

    Raises:
        TopicMissing: the topic does not exist.
    """
    info = describe_topic(connection, topic)
    # A recreated topic may have fewer partitions.
    there = {*numbers} & {*info.partitions}
    return TopicState(info.topic_id, available_offsets(connection, topic, there) if there else {})


def check_range(item: OffsetRange, state: TopicState) -> None:
    """Refuse a range that can no longer be read completely; see `check_ranges`."""
    if item.topic_id != state.topic_id:
        raise TopicRecreated(
            f"Topic {item.topic} has id {state.topic_id} and the range [{item.start}, {item.end}) of partition "
            f"{item.partition} was frozen for id {item.topic_id}: the topic was deleted and recreated, so freeze new "
            "ranges."
        )
    if not item.offsets:
        return
    first, end = state.bounds[item.partition]
    if item.end > end:
        raise truncated(item, item.end, first, end)
    if item.start < first:
        raise RangeUnavailable(
            f"Topic {item.topic} partition {item.partition}: offsets [{item.start}, {item.end}) are wanted and "
            f"[{first}, {end}) are available; retention removed the others, so raise retention.ms or freeze new ranges."
        )


def truncated(item: OffsetRange, wanted: int, first: int, end: int) -> LogTruncated:
    """The error for a log that has reached offset `wanted` before and now holds `[first, end)`."""
    return LogTruncated(
        f"Topic {item.topic} partition {item.partition}: its log has reached offset {wanted} before and now "
        f"[{first}, {end}) are available, so its tail was lost (an unclean leader election, or a restored disk) and "
        "its offsets belong to other records now: keep unclean.leader.election.enable off, and give the pipeline a new "
        "name, or freeze new ranges where only a training is concerned."
    )
