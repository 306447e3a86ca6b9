"""The bundled speech, from its source over the broker: the network knows voices that it has never heard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from include.definition.files import PIPELINES, read_pipeline
from include.definition.pipeline import Pipeline
from include.exactly_once.attempt import Attempt
from include.feed.split import group_crcs
from include.ingest.batch import ingest_batch
from include.kafka.ranges import freeze_ranges
from include.kafka.topics import ensure_topics
from include.sources.spoken_digits import VOICES
from include.training.job import TrainingJob
from include.training.loop import train

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection


@pytest.mark.long  # speaks 700 numbers, and trains on them as the bundled pipeline does
def test_voices_that_were_never_heard_are_understood(
    kafka: KafkaConnection, new_name: Callable[[], str], tmp_path: Path
) -> None:
    """With fewer samples than two batches of the pipeline have."""
    spoken_digits = read_pipeline(PIPELINES / "spoken_digits.toml")
    assert isinstance(spoken_digits, Pipeline), spoken_digits
    pipeline = spoken_digits.model_copy(update={"name": new_name()})
    ensure_topics(kafka, pipeline.topic_specs())
    sent = ingest_batch(Attempt(kafka, pipeline.name, "ingest", "run-1"), pipeline, "first", records=700)

    job = TrainingJob.of(pipeline, freeze_ranges(kafka, pipeline.samples_topic))
    trained = train(job, kafka, tmp_path)

    held_out = job.manifest.split.is_hash_held_out(group_crcs([voice.encode() for voice in VOICES]))
    assert trained.evaluation.samples / sent.samples == pytest.approx(held_out.mean(), abs=0.03), "some whole voices"
    assert trained.evaluation.score >= pipeline.promotion.floor, trained.evaluation.confusion
