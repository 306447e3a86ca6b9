"""The samples that a training has not learnt from, and the ranges of the next one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.errors import NothingToDo
from include.exactly_once.attempt import scoped_id
from include.exactly_once.backlog import Backlog, read_backlog
from include.exactly_once.progress import count_records
from include.kafka.ranges import freeze_ranges
from include.kafka.topics import refuse_compacted
from include.metrics import Gauges, Metrics, NoMetrics
from include.reading.late import count_labelled, read_labels
from include.reading.layout import TopicLabels
from include.reading.records import record_reader
from include.training.start import Start, resolve_start, start_ranges

if TYPE_CHECKING:
    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection
    from include.kafka.ranges import OffsetRange

STEP = "train"


@dataclass(frozen=True)
class TrainingBacklog:
    """What no training of the pipeline has learnt from.

    Attributes:
        labels: of the topic of late labels, where the pipeline has one.
    """

    samples: Backlog
    labels: Backlog | None = None


@dataclass(frozen=True)
class FrozenTraining:
    """What the next training learns from, fixed before it begins so that its retries find the same.

    Attributes:
        ranges: of the samples, and of the late labels where the pipeline has such; none of them is empty.
        start: what `training.start_from` stands for.
        new_samples: how many of the samples are new, counted to the number that was asked for.
    """

    ranges: tuple[OffsetRange, ...]
    start: Start | None
    new_samples: int


def training_backlog(connection: KafkaConnection, pipeline: Pipeline) -> TrainingBacklog:
    """Freeze the topics of a training and find what is new in them.

    A model may learn from any samples: where retention has removed some, or the topic was recreated, there is nothing
    to refuse.

    Raises:
        TopicMissing, BrokerUnavailable, AccessDenied: see include.kafka.
    """
    # The labels first: a sample that somebody has labelled is in its topic by then.
    labels = None if pipeline.labels_topic is None else _backlog(connection, pipeline, pipeline.labels_topic)
    return TrainingBacklog(_backlog(connection, pipeline, pipeline.samples_topic), labels)


def _backlog(connection: KafkaConnection, pipeline: Pipeline, topic: str) -> Backlog:
    ranges = freeze_ranges(connection, topic)
    return read_backlog(connection, pipeline.name, STEP, ranges, accept_lost=True, accept_other_records=True)


def count_new_samples(connection: KafkaConnection, pipeline: Pipeline, backlog: TrainingBacklog, *, enough: int) -> int:
    """How many samples are new, counted until there are `enough`.

    Where labels come late, these are the labelled samples of which the sample or the label is new.
    """
    group = scoped_id(connection, pipeline.name, STEP, "count")
    samples, labels = backlog.samples, backlog.labels
    if labels is None or not isinstance(pipeline.labels, TopicLabels):
        return count_records(connection, group, samples.unprocessed, enough=enough)
    late = read_labels(connection, f"{group}.labels", pipeline.labels, labels.ranges, reached=labels.positions)
    layout = pipeline.record_layout(pipeline.samples_topic)
    with record_reader(connection, layout, pipeline.format.schema_name) as reader:
        return count_labelled(connection, group, reader, samples.ranges, samples.positions, late, enough=enough)


def freeze_training(
    connection: KafkaConnection,
    pipeline: Pipeline,
    *,
    min_new_samples: int | None = None,
    metrics: Metrics | None = None,
) -> FrozenTraining:
    """Decide whether to train now, and on which ranges.

    These are all samples that the topic has, or for an incremental training those that are new to the version that it
    starts from and a share of older ones.

    Args:
        min_new_samples: how many samples must be new; the pipeline's own by default, 0 for a training in any case.

    Raises:
        NothingToDo: too few samples are new.
        TopicCompacted: Kafka may remove records from within the ranges.
        NoSuchVersion, WrongModel, WrongStart, RegistryUnavailable: see `resolve_start`.
    """
    topic = pipeline.samples_topic
    for name in filter(None, (topic, pipeline.labels_topic)):
        refuse_compacted(connection, name)
    backlog = training_backlog(connection, pipeline)
    wanted = pipeline.training.min_new_samples if min_new_samples is None else min_new_samples
    count = count_new_samples(connection, pipeline, backlog, enough=max(wanted, 1))
    offsets = backlog.samples.offsets
    (metrics or NoMetrics()).gauge(Gauges.BACKLOG_OFFSETS, offsets, pipeline=pipeline.name, step=STEP)
    samples = _filled(backlog.samples.ranges)
    if count < wanted or not samples:
        raise NothingToDo(
            f"Topic {topic} has {count} new samples and a training needs {max(wanted, 1)}: it waits for more."
        )
    start = resolve_start(pipeline)
    if start is not None and pipeline.training.incremental:
        samples = start_ranges(pipeline, start, backlog.samples.ranges)
        if not samples:
            raise NothingToDo(f"{start.source} has learnt from all samples of topic {topic}: training waits for more.")
    labels = [] if backlog.labels is None else _filled(backlog.labels.ranges)
    return FrozenTraining((*samples, *labels), start, count)


def _filled(ranges: Iterable[OffsetRange]) -> list[OffsetRange]:
    return [item for item in ranges if item.offsets]
