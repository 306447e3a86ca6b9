"""The digest of a job: what decides the weights changes it, and what is new and not set does not."""

from __future__ import annotations

import pytest

from include.kafka.ranges import OffsetRange
from include.training.job import TrainingJob
from tests.support.tiny_pipelines import tiny_pipeline

RANGES = [OffsetRange("tiny.samples", "topic-id", 0, 0, 100)]


def job(**training: object) -> TrainingJob:
    return TrainingJob.of(tiny_pipeline("tiny", training={"labels": ["a", "b", "c"], **training}), RANGES)


def test_a_job_keeps_the_digest_that_it_had_before_there_were_other_tasks() -> None:
    """Or an upgrade would train again what is trained, and find no checkpoint of what is not."""
    assert job().digest == "da8f7ba146a91752323936e01703593fdd1c8a9c266213060cd97c757d47295e"
    assert job().manifest.digest == "fd28af5cc9eb5dc9cd25fe106b1f3d5dce83b853d8a42f600d054cbb1ffd669e"


@pytest.mark.parametrize(
    "training",
    [
        {"task": "multi-label"},
        {"task": "multi-label", "separator": "|"},
        {"task": "regression"},
        {"task": "regression", "loss": "huber"},
        {"task": "regression", "normalise": False},
        {"task": "classification", "optimizer": "sgd"},
    ],
    ids=str,
)
def test_what_decides_the_weights_changes_the_digest(training: dict[str, object]) -> None:
    changed, usual = job(**training), job(task=training["task"])
    assert changed.digest != job().digest
    assert (changed.digest == usual.digest) == (changed == usual)


def test_a_job_is_the_same_after_its_way_through_json() -> None:
    regression = job(task="regression", loss="huber")
    assert TrainingJob.model_validate(regression.model_dump(mode="json")).digest == regression.digest
