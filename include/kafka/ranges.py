"""Offset ranges: a frozen `[start, end)` of one partition of one incarnation of a topic."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import wait
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from include.errors import MillraceError
from include.kafka.connection import KafkaConnection
from include.kafka.errors import LogTruncated, RangeUnavailable, TopicMissing, TopicRecreated
from include.kafka.retry import retried
from include.kafka.rights import Right
from include.kafka.topics import POLL_S, TopicInfo, describe_each, describe_topic, describe_topics

if TYPE_CHECKING:
    from concurrent.futures import Future

    from confluent_kafka import IsolationLevel, TopicPartition
    from confluent_kafka.admin import AdminClient, ListOffsetsResultInfo, OffsetSpec


SETTLE_S = 5.0

# A topic's id and its last stable offset by partition.
LogEnds = tuple[str, Mapping[int, int]]


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
    from confluent_kafka.admin import OffsetSpec

    with _offset_requests(connection, {topic: numbers}, committed=committed) as offsets:
        first, end = offsets(OffsetSpec.earliest()), offsets(OffsetSpec.latest())
    return {number: (first[topic, number], end[topic, number]) for number in numbers}


def log_ends(connection: KafkaConnection, topics: Iterable[str]) -> dict[str, LogEnds]:
    """The ends of each of the topics that exist.

    Raises:
        BrokerUnavailable, AccessDenied: see `describe_topics`.
    """
    from confluent_kafka.admin import OffsetSpec

    found = describe_topics(connection, topics)
    if not any(info.partitions for info in found.values()):
        return {}
    with _offset_requests(connection, {name: info.partitions for name, info in found.items()}) as offsets:
        ends = offsets(OffsetSpec.latest())
    return {
        name: (info.topic_id, {number: ends[name, number] for number in info.partitions})
        for name, info in found.items()
    }


def log_ends_of_each(connection: KafkaConnection, topics: Iterable[str]) -> dict[str, LogEnds | MillraceError]:
    """The same by one client in three requests for all; an error about one topic stands for it and spares the others.

    Nothing is tried again, also while a partition elects its leader: one without a leader would delay all others.

    Raises:
        BrokerUnavailable: no broker lists the topics in time.
    """
    from confluent_kafka import IsolationLevel, TopicPartition
    from confluent_kafka.admin import OffsetSpec

    ends: dict[str, LogEnds | MillraceError] = {}
    with connection.with_one_admin() as asked, asked.admin() as admin:
        found = describe_each(asked, topics)
        infos = [info for info in found.values() if isinstance(info, TopicInfo)]
        places = [TopicPartition(info.name, number) for info in infos for number in info.partitions]
        _list_leaders(asked, admin)
        answers = _request_offsets(asked, admin, places, IsolationLevel.READ_COMMITTED, OffsetSpec.latest())
    for name, info in found.items():
        if isinstance(info, MillraceError):
            ends[name] = info
            continue
        rights = [Right("Topic", name, "Describe")]
        try:
            explained = connection.explained(f"listing offsets of {name}", topic=name, rights=rights)
            # It may be deleted since it was described, or its leader may not know it yet.
            with suppress(TopicMissing), explained:
                ends[name] = info.topic_id, {number: _offset(answers[name, number]) for number in info.partitions}
        except MillraceError as error:
            ends[name] = error
    return ends


@dataclass(frozen=True)
class LogHistory:
    """A topic's log at one moment, and where it was at earlier times.

    Attributes:
        topic_id: of this incarnation of the topic.
        ranges: from the first to the last stable offset of each partition, in their order.
        begins: for each time that was asked for, where each of the ranges has its first record of then or later; its
            end where all records are older.
    """

    topic_id: str
    ranges: tuple[OffsetRange, ...]
    begins: tuple[tuple[int, ...], ...]

    @property
    def offsets(self) -> int:
        return sum(item.offsets for item in self.ranges)

    @property
    def since(self) -> tuple[int, ...]:
        """For each of the times, how many offsets were written then or later: at least as many as records."""
        return tuple(
            sum(item.end - begin for item, begin in zip(self.ranges, begins, strict=True)) for begins in self.begins
        )


def log_histories(
    connection: KafkaConnection, topics: Iterable[str], times_ms: Sequence[int] = ()
) -> dict[str, LogHistory]:
    """The history of each of the topics that exist, in a handful of requests for all of them; no record is read.

    Args:
        times_ms: in milliseconds since 1970, UTC, by the timestamps of the records.

    Raises:
        BrokerUnavailable, AccessDenied: see `describe_topics`.
    """
    from confluent_kafka.admin import OffsetSpec

    found = describe_topics(connection, topics)
    if not any(info.partitions for info in found.values()):
        return {}
    partitions = {name: info.partitions for name, info in found.items()}
    with _offset_requests(connection, partitions, one_listing=True) as offsets:
        first, end = offsets(OffsetSpec.earliest()), offsets(OffsetSpec.latest())
        earlier = [offsets(OffsetSpec.for_timestamp(time_ms), timed=True) for time_ms in times_ms]
    histories = {}
    for name, info in found.items():
        ranges = tuple(
            OffsetRange(name, info.topic_id, number, first[name, number], max(first[name, number], end[name, number]))
            for number in info.partitions
        )
        begins = tuple(tuple(_begin(item, at[name, item.partition]) for item in ranges) for at in earlier)
        histories[name] = LogHistory(info.topic_id, ranges, begins)
    return histories


def _begin(item: OffsetRange, found: int) -> int:
    """Where a range's records of a time begin; no offset means that all of them are older."""
    return item.end if found < 0 else min(max(found, item.start), item.end)


@contextmanager
def repeated_log_ends(
    connection: KafkaConnection, topic: str, numbers: Collection[int]
) -> Iterator[Callable[[], dict[int, int]]]:
    """A call that returns the last stable offset by partition, in one request each time."""
    from confluent_kafka.admin import OffsetSpec

    with _offset_requests(connection, {topic: numbers}) as offsets:
        yield lambda: {number: end for (_, number), end in offsets(OffsetSpec.latest()).items()}


@contextmanager
def _offset_requests(
    connection: KafkaConnection,
    partitions: Mapping[str, Collection[int]],
    *,
    committed: bool = True,
    one_listing: bool = False,
) -> Iterator[Callable[..., dict[tuple[str, int], int]]]:
    """A call that takes an `OffsetSpec` and returns an offset of each partition, see `_list_offsets`.

    All calls use one client, since each client has to connect and log in.

    Args:
        partitions: by topic.
        committed: see `available_offsets`.
        one_listing: list all topics of the cluster at once, for many topics, and not each by itself.
    """
    from confluent_kafka import IsolationLevel, TopicPartition

    level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
    places = [TopicPartition(topic, number) for topic, numbers in partitions.items() for number in numbers]
    with connection.admin() as admin:
        if one_listing:
            _list_leaders(connection, admin)
        else:
            for topic in partitions:
                connection.partitions(admin, topic)
        yield partial(_list_offsets, connection, admin, places, level)


def _list_leaders(connection: KafkaConnection, admin: AdminClient) -> None:
    """Without the leaders in its metadata, a client stalls for seconds in some list_offsets calls."""
    with connection.explained("listing the topics"):
        admin.list_topics(timeout=connection.timeout_s)


def _list_offsets(
    connection: KafkaConnection,
    admin: AdminClient,
    partitions: Sequence[TopicPartition],
    level: IsolationLevel,
    spec: OffsetSpec,
    *,
    timed: bool = False,
) -> dict[tuple[str, int], int]:
    """Offsets by topic and partition, retried while a partition elects its leader.

    Args:
        timed: the spec is a time, and -1 says that no record has this time or a later one.
    """
    from confluent_kafka import KafkaError

    moving = (
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError._NOENT,  # no partition has a known leader
        # A new leader does not know its last stable offset yet, which is no sign of a lost tail.
        KafkaError.OFFSET_NOT_AVAILABLE,
    )

    def request() -> dict[tuple[str, int], int]:
        answers = _request_offsets(connection, admin, partitions, level, spec)
        return {place: _offset(answer, timed=timed) for place, answer in answers.items()}

    topic = next((partition.topic for partition in partitions), "")
    rights = [Right("Topic", topic, "Describe")]
    with connection.explained(f"listing offsets of {topic}", topic=topic, rights=rights):
        return retried(connection, request, moving)


def _request_offsets(
    connection: KafkaConnection,
    admin: AdminClient,
    partitions: Sequence[TopicPartition],
    level: IsolationLevel,
    spec: OffsetSpec,
) -> dict[tuple[str, int], Future[ListOffsetsResultInfo]]:
    """The answers by topic and partition, for `_offset`."""
    asked = dict.fromkeys(partitions, spec)
    if not asked:
        return {}
    futures = admin.list_offsets(asked, isolation_level=level, request_timeout=connection.timeout_s)
    wait(futures.values(), connection.timeout_s + 5)
    return {(partition.topic, partition.partition): future for partition, future in futures.items()}


def _offset(answer: Future[ListOffsetsResultInfo], *, timed: bool = False) -> int:
    from confluent_kafka import KafkaError, KafkaException

    offset = answer.result(timeout=0).offset
    if offset < 0 and not timed:
        # Under load librdkafka returns offset -1 without an error.
        raise KafkaException(KafkaError(KafkaError.OFFSET_NOT_AVAILABLE))
    return int(offset)


def freeze_ranges(connection: KafkaConnection, topic: str, *, settle_s: float = SETTLE_S) -> list[OffsetRange]:
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
    written = available_offsets(connection, topic, info.partitions, committed=False)
    deadline = time.monotonic() + settle_s
    while True:
        decided = available_offsets(connection, topic, info.partitions)
        if all(decided[number][1] >= end for number, (_, end) in written.items()) or time.monotonic() > deadline:
            return [OffsetRange(topic, info.topic_id, number, first, end) for number, (first, end) in decided.items()]
        time.sleep(POLL_S)


def starting_at(
    connection: KafkaConnection, group: str, ranges: Sequence[OffsetRange], milliseconds: int
) -> list[OffsetRange]:
    """The ranges, each from its first record with this timestamp or a later one; records behind it may be older.

    Args:
        ranges: of one topic.
        milliseconds: since 1970, UTC.
    """
    from confluent_kafka import KafkaException, TopicPartition

    asked = [TopicPartition(item.topic, item.partition, max(0, milliseconds)) for item in ranges]
    with connection.consumer(group) as consumer:
        try:
            places = consumer.offsets_for_times(asked, timeout=connection.timeout_s)
        except KafkaException as error:
            raise connection.explain(
                error,
                f"looking for a time in {ranges[0].topic}",
                topic=ranges[0].topic,
                rights=[Right("Topic", ranges[0].topic, "Describe")],
            ) from error
    offsets: dict[int, int] = {}
    for place in places:
        if place.error is not None:
            raise connection.explain(KafkaException(place.error), f"looking for a time in {place.topic}")
        # A negative offset means that all records are older.
        offsets[place.partition] = place.offset if place.offset >= 0 else sys.maxsize
    return [replace(item, start=min(item.end, max(item.start, offsets[item.partition]))) for item in ranges]


def written_between(
    connection: KafkaConnection, group: str, ranges: Sequence[OffsetRange], since: int | None, until: int | None
) -> list[OffsetRange]:
    """The part of each range from its first record of `since` or later to its first of `until` or later.

    So each record lies in one of several periods that follow each other. A late record, which has an earlier timestamp
    than one before it, lies in the period in which it was written. Where a topic has `message.timestamp.type =
    LogAppendTime` the times are the broker's and no record is late; else they are the producers'.

    Args:
        ranges: of one topic.
        since, until: in milliseconds since 1970, UTC; None for no limit.
    """
    begins = ranges if since is None else starting_at(connection, group, ranges, since)
    ends = None if until is None else [item.start for item in starting_at(connection, group, ranges, until)]
    return [
        replace(item, start=begin.start, end=max(begin.start, item.end if ends is None else ends[number]))
        for number, (item, begin) in enumerate(zip(ranges, begins, strict=True))
    ]


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
        raise truncated_error(item, item.end, first, end)
    if item.start < first:
        raise removed_error(item, first, end)


def removed_error(item: OffsetRange, first: int, end: int) -> RangeUnavailable:
    """The error for a range of which the log, which now holds `[first, end)`, lacks the beginning."""
    return RangeUnavailable(
        f"Topic {item.topic} partition {item.partition}: offsets [{item.start}, {item.end}) are wanted and "
        f"[{first}, {end}) are available; retention removed the others, so raise retention.ms or freeze new ranges."
    )


def truncated_error(item: OffsetRange, wanted: int, first: int, end: int) -> LogTruncated:
    """The error for a log that has reached offset `wanted` before and now holds `[first, end)`."""
    return LogTruncated(
        f"Topic {item.topic} partition {item.partition}: its log has reached offset {wanted} before and now "
        f"[{first}, {end}) are available, so its tail was lost (an unclean leader election, or a restored disk) and "
        "its offsets belong to other records now: keep unclean.leader.election.enable off, and give the pipeline a new "
        "name, or freeze new ranges where only a training is concerned."
    )
