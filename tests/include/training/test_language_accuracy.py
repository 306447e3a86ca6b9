"""The bundled text pipeline as the README describes it: short texts are hard, sentences of 20 characters are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from include.definition.files import load_pipeline
from include.exactly_once.attempt import Attempt
from include.feed.feed import Feed
from include.ingest.batch import ingest_batch
from include.kafka.ranges import freeze_ranges
from include.kafka.topics import ensure_topics
from include.training.job import TrainingJob
from include.training.loop import train

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection

CHARACTERS = 20
ACCURACY = 0.95


def characters(inputs: torch.Tensor) -> torch.Tensor:
    """How many characters each text of a batch of byte codes has: UTF-8's 10xxxxxx bytes begin none."""
    return ((inputs != 0) & ((inputs < 0x80) | (inputs >= 0xC0))).sum(dim=1)


@pytest.mark.long  # trains on all of the bundled texts
def test_held_out_sentences_of_20_characters_are_distinguished(
    kafka: KafkaConnection,
    tmp_path: Path,
    new_name: Callable[[], str],
    record_property: Callable[[str, object], None],
) -> None:
    pipeline = load_pipeline("languages").model_copy(update={"name": new_name()})
    ensure_topics(kafka, pipeline.topic_specs())
    ingest_batch(Attempt(kafka, pipeline.name, "ingest", "1"), pipeline, "all", records=pipeline.source.count())
    job = TrainingJob.of(pipeline, freeze_ranges(kafka, pipeline.samples_topic))

    trained = train(job, kafka, tmp_path)
    network = trained.network.eval()

    right = total = 0
    with torch.inference_mode():
        for inputs, labels in Feed(kafka, job.manifest, job.format, batch_size=256, side="held_out", shuffle=False):
            long = characters(inputs) >= CHARACTERS
            right += int((network(inputs[long]).argmax(dim=1) == labels[long]).sum())
            total += int(long.sum())
    of_all = f"{trained.evaluation.score:.4f} of all {trained.evaluation.samples}, most of them a word or two"
    record_property("languages", f"{right / total:.4f} of {total} held-out texts of {CHARACTERS} characters, {of_all}")
    assert total > 500
    assert right / total >= ACCURACY
    assert trained.evaluation.score >= pipeline.promotion.floor
