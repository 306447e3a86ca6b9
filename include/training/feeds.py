"""The two sides of a job's samples, as its training and its evaluation read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.feed.feed import Feed

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection
    from include.training.job import TrainingJob

EVALUATION_BATCH = 256


def training_feed(job: TrainingJob, connection: KafkaConnection, *, shuffle: bool) -> Feed:
    """The samples to learn from, at the beginning of the first epoch."""
    return Feed(connection, job.manifest, job.format, batch_size=job.batch_size, window=job.window, shuffle=shuffle)


def held_out_feed(job: TrainingJob, connection: KafkaConnection) -> Feed:
    """The samples that are never learnt from, in the log's own order."""
    return Feed(
        connection,
        job.manifest,
        job.format,
        batch_size=EVALUATION_BATCH,
        window=job.window,
        side="held_out",
        shuffle=False,
    )
