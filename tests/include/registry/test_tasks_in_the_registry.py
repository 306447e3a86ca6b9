"""Versions of a regression and of several labels: their own metric is logged, kept with the version, and decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from include.artifact.result import TrainingResult
from include.definition.tables import Promotion
from include.exactly_once.ledger import ledger_topic
from include.kafka.topics import ensure_topics
from include.registry.promotion import promote
from include.registry.runs import open_run
from include.registry.versions import champion, register_version, set_champion
from include.training.loop import train
from include.training.result import store_result
from tests.support.digit_trainings import PARTITIONS, digits_pipeline, fill, job_over

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection
    from include.registry.tracking import Registry
    from include.training.job import TrainingJob

METRICS = {"regression": "r2", "multi-label": "micro_f1"}
LABELS = {
    "regression": lambda sample: sample.label,
    "multi-label": lambda sample: "even" * (int(sample.label) % 2 == 0),
}


@dataclass(frozen=True)
class Made:
    job: TrainingJob
    better: TrainingResult
    worse: TrainingResult


@pytest.fixture(scope="module", params=METRICS)
def made(
    kafka: KafkaConnection,
    new_topic: Callable[..., str],
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Made:
    """Two trainings of a task over the same samples, one of which learns next to nothing."""
    ensure_topics(kafka, [ledger_topic()])
    topic = new_topic(PARTITIONS)
    fill(kafka, topic, 300, LABELS[request.param])
    pipeline = digits_pipeline()
    training = pipeline.training.model_copy(update={"task": request.param, "labels": ("even",)})
    job = job_over(kafka, topic, pipeline.model_copy(update={"training": training}))

    def result(name: str, rate: float) -> TrainingResult:
        directory = tmp_path_factory.mktemp(name)
        asked = job.model_copy(update={"learning_rate": rate})
        return store_result(directory, asked, name, train(asked, kafka, directory, cache_bytes=2**30))

    return Made(job, result("better", 0.02), result("worse", 1e-9))


# R² may be below every floor that a file may have.
ANY_FLOOR = Promotion().model_copy(update={"floor": -10})


def test_the_task_s_own_metric_is_logged_returned_and_decides(
    kafka: KafkaConnection, registry: Registry, made: Made
) -> None:
    metric = METRICS[made.job.manifest.task]
    worse, better = (
        register_version(open_run(registry, made.job.run_identity(run)), result)
        for run, result in (("worse", made.worse), ("better", made.better))
    )
    assert (better.metric, better.score) == (metric, made.better.score)
    points = registry.client.get_metric_history(better.run_id, f"held_out_{metric}")
    assert [point.value for point in points] == [entry[f"held_out_{metric}"] for entry in made.better.outcome.history]
    files = {file.path for file in registry.client.list_artifacts(better.run_id)}
    assert files == {"manifest.json", "model"}

    first = promote(kafka, registry, worse.name, worse.number, ANY_FLOOR)
    assert not first.promoted
    assert "best constant answer" in first.reason
    set_champion(registry, worse)
    decision = promote(kafka, registry, better.name, better.number, ANY_FLOOR)
    assert decision.promoted
    values = decision.to_dict()
    assert values[metric] == made.better.score > values[f"champion_{metric}"] == made.worse.score
    assert f"{metric} {made.better.score:.4f}" in decision.reason
    assert champion(registry, better.name) == better
    assert not promote(kafka, registry, worse.name, worse.number, Promotion(floor=0.99)).promoted
