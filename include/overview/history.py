"""A pipeline's last day: what was written, from offsets and timestamps, and its newest predictions."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from include.exactly_once.snapshot import reader_group
from include.kafka.newest import newest_records
from include.kafka.ranges import log_histories
from include.overview.flow import flow_topics
from include.overview.look import LIMITS, answer_of

if TYPE_CHECKING:
    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection

HOURS = 24
HOUR_S = 3600
# Predictions whose labels and times are counted.
COUNTED = 500


@dataclass(frozen=True)
class Latency:
    """From a request's own time to its prediction's, in seconds: of half of the predictions, and of 95 %, at most."""

    median_s: float
    high_s: float


@dataclass(frozen=True)
class Day:
    """A pipeline's last day.

    Attributes:
        written: by what is in the topic, the offsets that were written in each hour, the latest last: a few more than
            records.
        predicted: the labels of the newest predictions, the most frequent first.
        counted: how many predictions those are.
        latency: of these predictions; None where none has a request with a time.
    """

    written: Mapping[str, tuple[int, ...]]
    predicted: tuple[tuple[str, int], ...] = ()
    counted: int = 0
    latency: Latency | None = None


def last_day(connection: KafkaConnection, pipeline: Pipeline, now: float) -> Day:
    """The last day at a time.

    Args:
        now: in seconds since 1970.

    Raises:
        BrokerUnavailable, AccessDenied, RangeUnavailable, ReaderStalled: see include.kafka.
    """
    topics = flow_topics(pipeline)
    begins = [int((now - hour * HOUR_S) * 1000) for hour in range(HOURS, 0, -1)]
    logs = log_histories(connection, sorted(set(topics.values())), begins)
    since = {
        content: (*logs[topic].since, 0) if topic in logs else (0,) * (HOURS + 1) for content, topic in topics.items()
    }
    written = {
        content: tuple(max(before - after, 0) for before, after in pairwise(counts))
        for content, counts in since.items()
    }
    log = logs.get(pipeline.predictions_topic)
    if log is None:
        return Day(written)
    group = reader_group(connection.environment)
    messages, _ = newest_records(connection, group, log.ranges, COUNTED, limits=LIMITS)
    answers = [(answer_of(message, pipeline), message.timestamp()[1]) for message in messages]
    labels = Counter(label for answer, _ in answers if answer is not None for label in answer.labels)
    took = sorted(
        max(at_ms - answer.asked_ms, 0) / 1000
        for answer, at_ms in answers
        if answer is not None and answer.asked_ms is not None
    )
    latency = Latency(statistics.median(took), took[int(0.95 * (len(took) - 1))]) if took else None
    return Day(written, tuple(labels.most_common()), len(messages), latency)
