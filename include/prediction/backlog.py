"""The backlog of predictions: which requests wait, the ranges of the next run, and their division among its tasks."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.errors import NothingToDo
from include.exactly_once.attempt import consumer_group
from include.exactly_once.backlog import Backlog, read_backlog
from include.exactly_once.lost_ledger import refuse_lost_ledger
from include.exactly_once.progress import count_records, show_lag
from include.exactly_once.waiting import Thresholds, Waiting, measure
from include.kafka.ranges import freeze_ranges
from include.metrics import Gauges, Metrics

if TYPE_CHECKING:
    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection
    from include.kafka.ranges import OffsetRange

STEP = "predict"


@dataclass(frozen=True)
class FrozenRequests:
    """What the next run predicts.

    Attributes:
        ranges: of the requests; none of them is empty, unless the run lingers with all partitions.
        sets: the ranges, divided among the tasks of the run.
        new_requests: how many they hold, counted until there are more than were asked for.
        counted_all: whether they hold no more than that.
    """

    ranges: tuple[OffsetRange, ...]
    sets: tuple[tuple[OffsetRange, ...], ...]
    new_requests: int
    counted_all: bool


def prediction_backlog(connection: KafkaConnection, pipeline: Pipeline, *, accept_lost: bool = False) -> Backlog:
    """Freeze the requests topic and find what was not predicted; until something was, Kafka's own tools show it, too.

    Args:
        accept_lost: count requests that retention removed before they were predicted, and do not refuse them.

    Raises:
        RangeUnavailable: requests were lost, unless `accept_lost`.
        TopicRecreated, LogTruncated: the ledger's positions stand for other records.
        LedgerLost: the ledger has no entry and the pipeline has published.
    """
    topic = pipeline.requests_topic
    with connection.with_one_admin() as asked:
        backlog = read_backlog(asked, pipeline.name, STEP, freeze_ranges(asked, topic), accept_lost=accept_lost)
        if not backlog.begun:
            refuse_lost_ledger(asked, topic, (pipeline.predictions_topic, pipeline.dead_letters_topic))
    if not backlog.begun:
        show_lag(connection, consumer_group(connection.environment, pipeline.name, STEP), backlog.unprocessed)
    return backlog


def request_thresholds(pipeline: Pipeline) -> Thresholds:
    """When the waiting requests are enough for a run, by `[prediction]`."""
    prediction = pipeline.prediction
    return Thresholds(
        prediction.min_records,
        prediction.max_wait_s,
        prediction.refire_after_s,
        linger_s=prediction.linger_s,
        alert_s=pipeline.alerts.waiting_s,
    )


def waiting_requests(connection: KafkaConnection, pipeline: Pipeline, thresholds: Thresholds | None = None) -> Waiting:
    """How many requests wait, counted to `min_records` of the thresholds, and since when.

    Args:
        thresholds: the pipeline's own by default.

    Raises:
        RangeUnavailable, TopicRecreated, LogTruncated, LedgerLost: see `prediction_backlog`.
    """
    backlog = prediction_backlog(connection, pipeline)
    group = consumer_group(connection.environment, pipeline.name, STEP, "count")
    return measure(
        connection,
        group,
        [backlog],
        lambda enough: count_records(connection, group, backlog.unprocessed, enough=enough),
        thresholds or request_thresholds(pipeline),
    )


def freeze_requests(
    connection: KafkaConnection,
    pipeline: Pipeline,
    *,
    min_new_requests: int = 1,
    accept_lost: bool = False,
    metrics: Metrics | None = None,
) -> FrozenRequests:
    """Decide whether to predict now, and which ranges.

    Raises:
        NothingToDo: fewer than `min_new_requests` are new, or none is.
        RangeUnavailable, TopicRecreated, LogTruncated, LedgerLost: see `prediction_backlog`.
    """
    backlog = prediction_backlog(connection, pipeline, accept_lost=accept_lost)
    wanted = max(min_new_requests, 1)
    group = consumer_group(connection.environment, pipeline.name, STEP, "count")
    # One more than enough shows whether that is all.
    count = count_records(connection, group, backlog.unprocessed, enough=wanted + 1)
    (metrics or Metrics()).gauge(Gauges.BACKLOG_OFFSETS, backlog.offsets, pipeline=pipeline.name, step=STEP)
    if count < wanted:
        raise NothingToDo(
            f"Topic {pipeline.requests_topic} has {count} new requests and a run needs {wanted}: it waits for more."
        )
    ranges = tuple(item for item in backlog.unprocessed if item.offsets or pipeline.prediction.linger_s)
    sets = divide(ranges, number_of_tasks(pipeline, ranges))
    return FrozenRequests(ranges, sets, count, counted_all=count <= wanted)


def number_of_tasks(pipeline: Pipeline, ranges: Iterable[OffsetRange]) -> int:
    """How many tasks predict the ranges, by `[prediction]`: all where they linger, since any amount may arrive."""
    prediction = pipeline.prediction
    if prediction.linger_s:
        return prediction.tasks
    busy = sum(item.offsets for item in ranges) // prediction.min_requests_per_task
    return min(prediction.tasks, max(busy, 1))


def divide(ranges: Collection[OffsetRange], tasks: int) -> tuple[tuple[OffsetRange, ...], ...]:
    """The ranges in a set for each task, of about as many offsets; there are no more sets than ranges.

    It does not matter which task takes which partition: each partition has its own producer, position and fence, so the
    next attempt may divide the work in another way.
    """
    sets: list[list[OffsetRange]] = [[] for _ in range(min(tasks, len(ranges)))]
    for item in sorted(ranges, key=lambda item: (-item.offsets, item)):
        min(sets, key=lambda found: (sum(other.offsets for other in found), len(found))).append(item)
    return tuple(map(tuple, sets))
