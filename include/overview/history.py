"""A pipeline's last day by the hour: what was written, what waited, and for how long, from offsets and timestamps."""

from __future__ import annotations

import statistics
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from include.exactly_once.progress import count_records
from include.exactly_once.snapshot import reader_group
from include.kafka.newest import newest_records
from include.kafka.ranges import LogHistory, OffsetRange, log_histories
from include.kafka.reader import read_range
from include.overview.flow import flow_topics
from include.overview.kept import RangeCache
from include.overview.look import LIMITS, answer_of

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message

    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection

HOURS = 24
HOUR_S = 3600
# The newest predictions, whose labels and times are counted.
COUNTED = 500
# How many predictions of each hour have their times read.
SAMPLED = 20
# A record and the marker of its transaction.
OFFSETS_EACH = 2
# What waited is counted in records up to so many offsets, of which markers may be a large part.
EXACT = 50


@dataclass(frozen=True)
class Latency:
    """From a request's own time to its prediction's, in seconds: of half of the predictions, and of 95 %, at most."""

    median_s: float
    high_s: float


@dataclass(frozen=True)
class PredictRun:
    """A run of predictions.

    Attributes:
        at_ms: when it decided what to answer, in milliseconds since 1970.
        ended_ms: None while it is at work.
        starts: the first offset that it was to answer, by topic id and partition.
    """

    at_ms: int
    ended_ms: int | None
    starts: Mapping[tuple[str, int], int]


@dataclass(frozen=True)
class Day:
    """A pipeline's last day: the hour that is not over yet, and those before it.

    Attributes:
        begins: of each hour, in seconds since 1970, the latest last.
        written: by what is in the topic, the offsets that were written in each hour: a few more than records.
        waited: how many requests waited at the beginning of each hour, and now: records up to `EXACT`, offsets beyond;
            None where that is not known.
        latencies: of about `SAMPLED` predictions from the middle of each hour; None where there was none whose request
            has a time.
        predicted: the labels of the newest predictions, the most frequent first.
        counted: how many predictions those are.
        invalid: how many records beside them are no predictions of the pipeline.
        latency: of these predictions.
    """

    begins: tuple[int, ...]
    written: Mapping[str, tuple[int, ...]]
    waited: tuple[int | None, ...]
    latencies: tuple[Latency | None, ...]
    predicted: tuple[tuple[str, int], ...] = ()
    counted: int = 0
    invalid: int = 0
    latency: Latency | None = None


class DayReader:
    """Reads the last day of one pipeline again and again; what was found in an hour that is over is kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: RangeCache[int] = RangeCache()
        self._latencies: RangeCache[Latency | None] = RangeCache()

    def read(
        self,
        connection: KafkaConnection,
        pipeline: Pipeline,
        now: float,
        runs: Sequence[PredictRun] = (),
        rest: Sequence[OffsetRange] = (),
    ) -> Day:
        """The last day at a time.

        Args:
            now: in seconds since 1970.
            runs: of predictions in the last day, the oldest first.
            rest: the requests that wait now, of each partition, see `StepBacklog.rest`; empty where that is not known.

        Raises:
            BrokerUnavailable, AccessDenied, RangeUnavailable, ReaderStalled: see include.kafka.
        """
        topics = flow_topics(pipeline)
        hour = int(now) // HOUR_S * HOUR_S
        begins = tuple(hour - ago * HOUR_S for ago in range(HOURS - 1, -1, -1))
        logs = log_histories(connection, sorted(set(topics.values())), [begin * 1000 for begin in begins])
        written = {
            content: _per_hour(logs[topic]) if topic in logs else (0,) * HOURS for content, topic in topics.items()
        }
        with self._lock, connection.consumer(reader_group(connection.environment)) as consumer:
            waited = self._waited(connection, pipeline, begins, logs.get(topics["requests"]), runs, rest)
            answers = logs.get(topics["predictions"])
            latencies = self._by_hour(connection, consumer, pipeline, answers) if answers else (None,) * HOURS
        day = Day(begins, written, waited, latencies)
        return day if answers is None else _with_newest(connection, pipeline, answers, day)

    def _waited(
        self,
        connection: KafkaConnection,
        pipeline: Pipeline,
        begins: Sequence[int],
        log: LogHistory | None,
        runs: Sequence[PredictRun],
        rest: Sequence[OffsetRange],
    ) -> tuple[int | None, ...]:
        if log is None:
            return (None,) * (HOURS + 1)
        now = {(item.topic_id, item.partition): item.start for item in rest}
        lingers = pipeline.prediction.linger_s > 0
        earlier = [starts_at(begin * 1000, runs, lingers=lingers) or now for begin in begins]
        found: list[int | None] = []
        self._counts.begin()
        for starts, ends in zip([*earlier, now], _ends(log), strict=True):
            waiting = tuple(
                replace(item, start=min(max(item.start, starts.get((item.topic_id, item.partition), 0)), end), end=end)
                for item, end in zip(log.ranges, ends, strict=True)
            )
            found.append(self._count(connection, waiting) if starts else None)
        return tuple(found)

    def _count(self, connection: KafkaConnection, waiting: tuple[OffsetRange, ...]) -> int:
        offsets = sum(item.offsets for item in waiting)
        if not 0 < offsets <= EXACT:
            return offsets
        group = reader_group(connection.environment)
        return self._counts.get(waiting, lambda: count_records(connection, group, waiting, enough=EXACT))

    def _by_hour(
        self, connection: KafkaConnection, consumer: Consumer, pipeline: Pipeline, log: LogHistory
    ) -> tuple[Latency | None, ...]:
        self._latencies.begin()
        found: list[Latency | None] = []
        for before, after in pairwise(_ends(log)):
            hours = (
                replace(item, start=start, end=end)
                for item, start, end in zip(log.ranges, before, after, strict=True)
                if start < end
            )
            # The partition with most is as good as all of them, and one place costs one round trip.
            most = max(hours, key=lambda item: item.offsets, default=None)
            found.append(None if most is None else self._latency(connection, consumer, pipeline, _middle(most)))
        return tuple(found)

    def _latency(
        self, connection: KafkaConnection, consumer: Consumer, pipeline: Pipeline, sampled: OffsetRange
    ) -> Latency | None:
        def find() -> Latency | None:
            batches = read_range(connection, consumer, sampled, batch_size=SAMPLED)
            return _latency_of(pipeline, [message for messages in batches for message in messages][:SAMPLED])

        return self._latencies.get(sampled, find)


def starts_at(at_ms: int, runs: Sequence[PredictRun], *, lingers: bool) -> Mapping[tuple[str, int], int] | None:
    """Where the predictions were at a time: where the run began that was at work then, or the next one.

    So the requests of a run count as waiting until it has ended.

    Args:
        runs: the oldest first.
        lingers: whether runs stay to answer what arrives meanwhile: then they count as having answered all of it.

    Returns:
        The first offset without an answer by topic id and partition; None where no run was at work then or later.
    """
    for run in runs:
        at_work = not lingers and (run.ended_ms is None or run.ended_ms > at_ms)
        if at_work or run.at_ms > at_ms:
            return run.starts
    return None


def _ends(log: LogHistory) -> tuple[tuple[int, ...], ...]:
    """Where each partition was at the beginning of each hour, and where it is now."""
    return (*log.begins, tuple(item.end for item in log.ranges))


def _per_hour(log: LogHistory) -> tuple[int, ...]:
    return tuple(before - after for before, after in pairwise((*log.since, 0)))


def _middle(whole: OffsetRange) -> OffsetRange:
    """The middle of a range, as long as `SAMPLED` records may be."""
    wanted = SAMPLED * OFFSETS_EACH
    start = whole.start + max((whole.offsets - wanted) // 2, 0)
    return replace(whole, start=start, end=min(start + wanted, whole.end))


def _with_newest(connection: KafkaConnection, pipeline: Pipeline, log: LogHistory, day: Day) -> Day:
    group = reader_group(connection.environment)
    messages, _ = newest_records(connection, group, log.ranges, COUNTED, limits=LIMITS)
    answers = [answer_of(message, pipeline) for message in messages]
    labels = Counter(label for answer in answers if answer is not None for label in answer.labels)
    return replace(
        day,
        predicted=tuple(labels.most_common()),
        counted=len(messages) - answers.count(None),
        invalid=answers.count(None),
        latency=_latency_of(pipeline, messages),
    )


def _latency_of(pipeline: Pipeline, messages: Sequence[Message]) -> Latency | None:
    answers = [(answer_of(message, pipeline), message.timestamp()[1]) for message in messages]
    took = sorted(
        max(at_ms - answer.asked_ms, 0) / 1000
        for answer, at_ms in answers
        if answer is not None and answer.asked_ms is not None
    )
    return Latency(statistics.median(took), took[int(0.95 * (len(took) - 1))]) if took else None
