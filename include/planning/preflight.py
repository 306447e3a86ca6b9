"""When a training or a prediction begins: refuse what is certain to fail later, and warn of what makes it slow.

Nothing unknown is guessed: what could not be compared is logged.
"""

from __future__ import annotations

import logging
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from include.definition.rights import step_rights
from include.errors import PermanentError
from include.exactly_once.attempt import consumer_group
from include.feed.window import sample_bytes
from include.kafka.ranges import starting_at
from include.kafka.topics import describe_topics, refuse_denied, topic_settings
from include.planning.sizing import HOUR_S
from include.registry.tracking import RegistryUnavailable, open_registry
from include.registry.versions import newest_rate

if TYPE_CHECKING:
    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection
    from include.kafka.ranges import OffsetRange
    from include.training.job import TrainingJob

log = logging.getLogger(__name__)

# A cache takes at most this share of the free disk, see `include.feed.cache`.
CACHE_SHARE = 0.5


class RetentionTooShort(PermanentError):
    """Kafka would remove every sample of a training before the training ends."""


def before_prediction(connection: KafkaConnection, pipeline: Pipeline) -> None:
    """Check the rights of the step, and warn of tasks that have no partition of their own.

    Raises:
        AccessDenied: a right on a topic is missing.
        BrokerUnavailable: see include.kafka.
    """
    topic, tasks = pipeline.requests_topic, pipeline.prediction.tasks
    refuse_denied(connection, step_rights(pipeline, "predict"), f"{pipeline.name}.predict")
    info = describe_topics(connection, [topic]).get(topic) if tasks > 1 else None
    if info is not None and len(info.partitions) < tasks:
        log.warning(
            "Topic %s has %d partitions and prediction.tasks is %d: a partition is read by one task, so %d tasks have "
            "nothing to do; plan partitions with `millrace plan %s`.",
            topic,
            len(info.partitions),
            tasks,
            tasks - len(info.partitions),
            pipeline.name,
        )


def before_training(
    connection: KafkaConnection, pipeline: Pipeline, job: TrainingJob, *, folder: Path, cache_bytes: int
) -> None:
    """Check the rights of the step, and warn of a small disk.

    Args:
        folder: where the cache will be; it need not exist.
        cache_bytes: see `include.training.loop.train`.

    Raises:
        AccessDenied: a right on a topic is missing.
        BrokerUnavailable: see include.kafka.
    """
    refuse_denied(connection, step_rights(pipeline, "train"), f"{pipeline.name}.train")
    warn_of_small_disk(job, folder, cache_bytes)


def refuse_short_retention(connection: KafkaConnection, job: TrainingJob) -> None:
    """Compare the retention of a training's topics with the time that it takes.

    Only MLflow knows that time, and its import takes a second or two. So this is for a training whose trainer has
    just begun, which imported torch in the meantime.

    Raises:
        RetentionTooShort: the samples are kept for a shorter time than the training takes.
        BrokerUnavailable, TopicMissing, NotMigrated, UnknownTracking: see include.kafka and include.registry.
    """
    kept = {
        ranges[0].topic: (ranges, limit)
        for ranges in (job.manifest.ranges, job.manifest.label_ranges)
        if ranges and (limit := int(topic_settings(connection, ranges[0].topic)["retention.ms"]) / 1000) >= 0
    }
    if not kept:
        return
    taken = expected_seconds(job)
    if taken is None:
        log.info(
            "How long the training of %s takes is not known, as no version has a rate in MLflow: it is not compared "
            "with the retention of %s.",
            job.pipeline,
            ", ".join(kept),
        )
        return
    seconds, origin = taken
    group = consumer_group(connection.environment, job.pipeline, "train", "count")
    for topic, (ranges, limit) in kept.items():
        require_retention(topic, limit, seconds, origin)
        warn_of_old_records(connection, group, ranges, limit, seconds)


def expected_seconds(job: TrainingJob) -> tuple[float, str] | None:
    """How long the epochs take at the newest version's rate, and where that is from; None if it is not known.

    Evaluations come on top of it. Offsets are somewhat more than samples, as markers of transactions have some too.
    """
    try:
        found = newest_rate(open_registry(), job.pipeline)
    except RegistryUnavailable as error:
        log.warning("%s", error)
        return None
    if found is None:
        return None
    number, rate = found
    offsets = sum(item.offsets for item in job.manifest.ranges)
    samples = job.epochs * offsets * (1 - job.manifest.split.held_out)
    return samples / rate, f"{job.epochs} epochs of {offsets:,} offsets at version {number}'s {rate:,.0f} samples/s"


def require_retention(topic: str, limit: float, seconds: float, origin: str) -> None:
    """Refuse a training of which no record is left at its end.

    Args:
        limit: how long the topic keeps a record, in seconds.
        seconds, origin: see `expected_seconds`.

    Raises:
        RetentionTooShort: naming both times.
    """
    if seconds > limit:
        raise RetentionTooShort(
            f"Topic {topic} keeps records for {_shown(limit)} (retention.ms) and the training is expected to take "
            f"{_shown(seconds)} ({origin}), so that none of its records would be left for the evaluation at its end: "
            f"raise retention.ms of {topic}, or train for fewer epochs."
        )


def warn_of_old_records(
    connection: KafkaConnection, group: str, ranges: tuple[OffsetRange, ...], limit: float, seconds: float
) -> None:
    """Warn of records that reach the topic's retention while the training goes on.

    Kafka removes whole segments, so some of them may stay longer.
    """
    kept = starting_at(connection, group, ranges, round((time.time() - limit + seconds) * 1000))
    old = sum(replace(item, end=left.start).offsets for item, left in zip(ranges, kept, strict=True))
    if old:
        log.warning(
            "%d of %d offsets of %s are older than %s and reach its retention of %s within the %s that the training "
            "is expected to take: if Kafka removes them before its end, the promotion fails, so raise retention.ms.",
            old,
            sum(item.offsets for item in ranges),
            ranges[0].topic,
            _shown(max(limit - seconds, 0)),
            _shown(limit),
            _shown(seconds),
        )


def warn_of_small_disk(job: TrainingJob, folder: Path, cache_bytes: int) -> None:
    """Warn of a disk that may leave the cache less than it would use, so that later epochs read the log again."""
    offsets = sum(item.offsets for item in job.manifest.ranges)
    # Encoded samples take less; how much is not known before they are read.
    most = min(cache_bytes, offsets * sample_bytes(job.format))
    place = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    total, _, free = shutil.disk_usage(place)
    # Some network file systems report a size of zero.
    if total and CACHE_SHARE * free < most:
        log.warning(
            "The disk of %s has %d bytes free, of which the cache of later epochs takes %d at most, and it may need "
            "%d: what does not fit is read from Kafka in every epoch, so free some, or lower training.cache_bytes.",
            place,
            free,
            CACHE_SHARE * free,
            most,
        )


def _shown(seconds: float) -> str:
    """A time in its largest unit: `36 h`, `12 min`, `9 s`."""
    for unit, size in (("h", HOUR_S), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}" if seconds < 1000 * size else f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.3g} s"
