"""The backlog of trainings: which samples are new, whether they are enough for one, and the ranges of the next one."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain

from include.definition.model_reference import CHAMPION
from include.definition.pipeline import Pipeline
from include.errors import NothingToDo, PermanentError
from include.exactly_once.attempt import Attempt, consumer_group
from include.exactly_once.backlog import Backlog, read_backlog
from include.exactly_once.progress import count_records
from include.exactly_once.waiting import Thresholds, Waiting, measure
from include.kafka.connection import KafkaConnection
from include.kafka.ranges import OffsetRange, freeze_ranges, written_between
from include.kafka.topics import refuse_compacted
from include.metrics import Gauges, Metrics
from include.reading.late import count_labelled, read_labels
from include.reading.layout import TopicLabels
from include.reading.records import record_reader
from include.training.initial_weights import InitialWeights, resolve_initial_weights, unlearnt_ranges

STEP = "train"


class StartTooLate(PermanentError):
    """A training as of an earlier time would start from weights of a later one."""


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
        initial_weights: what `training.start_from` stands for.
        new_samples: how many of the samples are new, counted until there are more than were asked for.
        counted_all: whether no more are new than that.
    """

    ranges: tuple[OffsetRange, ...]
    initial_weights: InitialWeights | None
    new_samples: int
    counted_all: bool


def training_backlog(connection: KafkaConnection, pipeline: Pipeline) -> TrainingBacklog:
    """Freeze the topics of a training and find what is new in them.

    A model may learn from any samples: where retention has removed some, or the topic was recreated, there is nothing
    to refuse.

    Raises:
        TopicMissing, BrokerUnavailable, AccessDenied: see include.kafka.
    """
    with connection.with_one_admin() as asked:
        # The labels first: a sample that somebody has labelled is in its topic by then.
        labels = None if pipeline.labels_topic is None else _backlog(asked, pipeline, pipeline.labels_topic)
        return TrainingBacklog(_backlog(asked, pipeline, pipeline.samples_topic), labels)


def _backlog(connection: KafkaConnection, pipeline: Pipeline, topic: str) -> Backlog:
    ranges = freeze_ranges(connection, topic)
    return read_backlog(connection, pipeline.name, STEP, ranges, accept_lost=True, accept_other_records=True)


def count_new_samples(connection: KafkaConnection, pipeline: Pipeline, backlog: TrainingBacklog, *, enough: int) -> int:
    """How many samples are new, counted until there are `enough`.

    Where labels come late, these are the labelled samples of which the sample or the label is new.
    """
    group = consumer_group(connection.environment, pipeline.name, STEP, "count")
    samples, labels = backlog.samples, backlog.labels
    if labels is None or not isinstance(pipeline.labels, TopicLabels):
        return count_records(connection, group, samples.unprocessed, enough=enough)
    late = read_labels(connection, f"{group}.labels", pipeline.labels, labels.ranges, reached=labels.positions)
    layout = pipeline.record_layout(pipeline.samples_topic)
    with record_reader(connection, layout, pipeline.format.schema_name) as reader:
        return count_labelled(connection, group, reader, samples.ranges, samples.positions, late, enough=enough)


def sample_thresholds(pipeline: Pipeline) -> Thresholds:
    """When the new samples are enough for a training, by `[training]`."""
    training = pipeline.training
    return Thresholds(training.min_new_samples, training.max_wait_s, training.refire_after_s)


def waiting_samples(connection: KafkaConnection, pipeline: Pipeline, thresholds: Thresholds | None = None) -> Waiting:
    """How many samples are new, counted to `min_records` of the thresholds, and since when.

    Args:
        thresholds: the pipeline's own by default.
    """
    backlog = training_backlog(connection, pipeline)
    return _measure(connection, pipeline, backlog, thresholds or sample_thresholds(pipeline))


def _measure(
    connection: KafkaConnection, pipeline: Pipeline, backlog: TrainingBacklog, thresholds: Thresholds
) -> Waiting:
    return measure(
        connection,
        consumer_group(connection.environment, pipeline.name, STEP, "count"),
        filter(None, (backlog.samples, backlog.labels)),
        lambda enough: count_new_samples(connection, pipeline, backlog, enough=enough),
        thresholds,
    )


def freeze_training(
    connection: KafkaConnection,
    pipeline: Pipeline,
    *,
    min_new_samples: int | None = None,
    as_of: datetime | None = None,
    metrics: Metrics | None = None,
) -> FrozenTraining:
    """Decide whether to train now, and on which ranges.

    These are all samples that the topic has, or for an incremental training those that are new to the version that it
    starts from and a share of older ones.

    Args:
        min_new_samples: how many samples must be new; the pipeline's own by default, 0 for a training in any case.
        as_of: train on what the topics had at this time, however few samples were new; see `written_between`.

    Raises:
        NothingToDo: too few samples are new, or none was written before `as_of`.
        StartTooLate: the training would start from the champion, and `as_of` is given.
        TopicCompacted: Kafka may remove records from within the ranges.
        NoSuchVersion, WrongModel, WrongInitialWeights, RegistryUnavailable: see `resolve_initial_weights`.
    """
    topic = pipeline.samples_topic
    with connection.with_one_admin() as asked:
        for name in filter(None, (topic, pipeline.labels_topic)):
            refuse_compacted(asked, name)
        backlog = training_backlog(asked, pipeline)
    if as_of is not None:
        return _freeze_as_of(connection, pipeline, backlog, as_of)
    wanted = pipeline.training.min_new_samples if min_new_samples is None else min_new_samples
    enough = max(wanted, 1)
    waiting = _measure(connection, pipeline, backlog, replace(sample_thresholds(pipeline), min_records=enough))
    offsets = backlog.samples.offsets
    (metrics or Metrics()).gauge(Gauges.BACKLOG_OFFSETS, offsets, pipeline=pipeline.name, step=STEP)
    samples = _filled(backlog.samples.ranges)
    if not samples or (wanted and not waiting.enough(time.time())):
        raise NothingToDo(
            f"Topic {topic} has {waiting.records} new samples and a training needs {enough}: it waits for more."
        )
    initial = resolve_initial_weights(connection, pipeline)
    if initial is not None and pipeline.training.incremental:
        samples = unlearnt_ranges(pipeline, initial, backlog.samples.ranges)
        if not samples:
            raise NothingToDo(
                f"{initial.source} has learnt from all samples of topic {topic}: training waits for more."
            )
    labels = [] if backlog.labels is None else _filled(backlog.labels.ranges)
    return FrozenTraining((*samples, *labels), initial, waiting.records, counted_all=waiting.records <= enough)


def _freeze_as_of(
    connection: KafkaConnection, pipeline: Pipeline, backlog: TrainingBacklog, as_of: datetime
) -> FrozenTraining:
    """The ranges as they were at a time; none of their samples counts as new."""
    if str(pipeline.training.start_from).endswith(CHAMPION):
        raise StartTooLate(
            f"The training of {pipeline.name} as of {as_of.isoformat()} would start from the champion, which may have "
            "learnt from later samples: name a version in training.start_from, or leave it out."
        )
    group, until = consumer_group(connection.environment, pipeline.name, STEP, "count"), round(as_of.timestamp() * 1000)
    topics = [found.ranges for found in (backlog.samples, backlog.labels) if found is not None]
    samples, *labels = (_filled(written_between(connection, group, ranges, None, until)) for ranges in topics)
    if not samples:
        raise NothingToDo(f"Topic {pipeline.samples_topic} has no samples from before {as_of.isoformat()}.")
    initial = resolve_initial_weights(connection, pipeline)
    return FrozenTraining((*samples, *chain(*labels)), initial, 0, counted_all=True)


def record_training(attempt: Attempt, ranges: Iterable[OffsetRange]) -> None:
    """Record that a version has learnt from the ranges of a training, so that they are not new to the next one."""
    # An incremental training has several ranges in a partition; the last one ends where the model has learnt to.
    learnt = {(item.topic, item.partition): item for item in sorted(ranges, key=lambda item: item.end)}
    attempt.record_progress(learnt.values())


def _filled(ranges: Iterable[OffsetRange]) -> list[OffsetRange]:
    return [item for item in ranges if item.offsets]
