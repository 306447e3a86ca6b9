"""The requests that have no prediction yet, and the ranges of the next run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.errors import NothingToDo
from include.exactly_once.attempt import scoped_id
from include.exactly_once.backlog import Backlog, read_backlog
from include.exactly_once.lost_ledger import refuse_lost_ledger
from include.exactly_once.progress import count_records
from include.kafka.ranges import freeze_ranges
from include.metrics import Gauges, Metrics, NoMetrics

if TYPE_CHECKING:
    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection
    from include.kafka.ranges import OffsetRange

STEP = "predict"


@dataclass(frozen=True)
class FrozenRequests:
    """What the next run predicts.

    Attributes:
        ranges: of the requests; none of them is empty.
        new_requests: how many they hold, counted to the number that was asked for.
    """

    ranges: tuple[OffsetRange, ...]
    new_requests: int


def prediction_backlog(connection: KafkaConnection, pipeline: Pipeline, *, accept_lost: bool = False) -> Backlog:
    """Freeze the requests topic and find what was not predicted.

    Args:
        accept_lost: count requests that retention removed before they were predicted, and do not refuse them.

    Raises:
        RangeUnavailable: requests were lost, unless `accept_lost`.
        TopicRecreated, LogTruncated: the ledger's positions stand for other records.
        LedgerLost: the ledger has no entry and the pipeline has published.
    """
    topic = pipeline.requests_topic
    backlog = read_backlog(connection, pipeline.name, STEP, freeze_ranges(connection, topic), accept_lost=accept_lost)
    if not backlog.begun:
        refuse_lost_ledger(connection, topic, (pipeline.predictions_topic, pipeline.dead_letters_topic))
    return backlog


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
    group = scoped_id(connection, pipeline.name, STEP, "count")
    count = count_records(connection, group, backlog.unprocessed, enough=wanted)
    (metrics or NoMetrics()).gauge(Gauges.BACKLOG_OFFSETS, backlog.offsets, pipeline=pipeline.name, step=STEP)
    if count < wanted:
        raise NothingToDo(
            f"Topic {pipeline.requests_topic} has {count} new requests and a run needs {wanted}: it waits for more."
        )
    return FrozenRequests(tuple(item for item in backlog.unprocessed if item.offsets), count)
