"""Regression and several labels on a real topic: learnt, resumed bit for bit, kept with the model, and predicted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from include.artifact.model import load_model
from include.definition.pipeline import Pipeline
from include.exactly_once.attempt import Attempt
from include.kafka.ranges import freeze_ranges
from include.kafka.topics import ensure_topics
from include.prediction.predictor import Predictor
from include.prediction.publish import publish_predictions
from include.prediction.read import read_predictions
from include.training.checks import NoSamples
from include.training.loop import TrainedNetwork, train
from include.training.result import store_result
from tests.support.assertions import assert_readable
from tests.support.digit_trainings import digits_pipeline, fill, job_over
from tests.support.resumed_trainings import bits, trained_in_pieces
from tests.support.tiny_pipelines import IDENTITY

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection
    from include.sources.base import SourceSample
    from include.training.job import TrainingJob

PROPERTIES = ("even", "small", "prime")


def ink(sample: SourceSample) -> str:
    """How dark the upper and the lower half are, in numbers that are far from 0 and from each other."""
    upper, lower = np.asarray(sample.content, np.float64).reshape(2, -1).sum(axis=1).tolist()
    return f"[{upper + 1e5}, {lower / 1e3}]"


def properties(sample: SourceSample) -> str:
    digit = int(sample.label or "")
    return ", ".join(
        name for name, has in zip(PROPERTIES, (digit % 2 == 0, digit < 5, digit in (2, 3, 5, 7)), strict=True) if has
    )


TASKS: dict[str, tuple[dict[str, Any], Callable[[SourceSample], str]]] = {
    "regression": ({"task": "regression", "labels": ("upper", "lower")}, ink),
    "multi-label": ({"task": "multi-label", "labels": PROPERTIES}, properties),
}


@pytest.fixture(scope="module", params=TASKS)
def pipeline(kafka: KafkaConnection, new_name: Callable[[], str], request: pytest.FixtureRequest) -> Pipeline:
    """A pipeline of the task, 600 samples in its topic and 40 of them, without labels, among its requests."""
    training, label = TASKS[request.param]
    usual = digits_pipeline()
    settings = usual.training.model_copy(update=training)
    pipeline = usual.model_copy(update={"name": new_name(), "training": settings})
    ensure_topics(kafka, pipeline.topic_specs())
    fill(kafka, pipeline.samples_topic, 600, label)
    fill(kafka, pipeline.requests_topic, 40, lambda _: None)
    return pipeline


@pytest.fixture(scope="module")
def job(kafka: KafkaConnection, pipeline: Pipeline) -> TrainingJob:
    return job_over(kafka, pipeline.samples_topic, pipeline)


@pytest.fixture(scope="module")
def whole(kafka: KafkaConnection, job: TrainingJob, tmp_path_factory: pytest.TempPathFactory) -> TrainedNetwork:
    return train(job, kafka, tmp_path_factory.mktemp("whole"), cache_bytes=2**30)


def test_it_learns(whole: TrainedNetwork) -> None:
    assert whole.evaluation.score > 0.6, whole.history
    assert whole.history[-1][f"held_out_{whole.evaluation.metric}"] == whole.evaluation.score
    assert whole.train.total + whole.held_out.total == 600


def test_a_run_in_pieces_ends_with_the_bits_of_a_whole_one(
    kafka: KafkaConnection, job: TrainingJob, whole: TrainedNetwork, tmp_path: Path
) -> None:
    pieces, attempts = trained_in_pieces(kafka, job, tmp_path, 17)
    assert attempts > 2
    assert bits(pieces) == bits(whole)
    assert pieces.scale == whole.scale
    assert pieces.evaluation.metrics == whole.evaluation.metrics


def test_a_loaded_model_answers_in_the_labels_own_units(
    kafka: KafkaConnection, pipeline: Pipeline, job: TrainingJob, whole: TrainedNetwork, tmp_path: Path
) -> None:
    result = store_result(tmp_path, job, "run", whole)
    model = load_model(result.model_directory, result.digest)
    requests = freeze_ranges(kafka, pipeline.requests_topic)
    published = publish_predictions(
        Attempt(kafka, pipeline.name, "predict", "run"),
        pipeline,
        requests,
        Predictor(model.network, model.card.target, IDENTITY),
    )
    assert (published.predictions, published.rejected) == (40, 0)
    table = read_predictions(kafka, pipeline)
    labels = {sample.id: TASKS[pipeline.training.task][1](sample) for sample in pipeline.source.read(0, 40)}
    true = [model.card.target.read(labels[sample]) for sample in table["id"]]
    if pipeline.training.task == "regression":
        predicted = table[["value.upper", "value.lower"]].to_numpy()
        deviation = np.std(true, axis=0)
        assert (np.abs(predicted - true).mean(axis=0) < deviation).all()
    else:
        predicted = np.array([model.card.target.read(",".join(names)) for names in table["labels"]])
        assert (predicted == true).mean() > 0.8
        assert ((table["score.even"] >= 0.5) == predicted[:, 0]).all()


def test_labels_of_another_task_are_refused_with_the_reason(
    kafka: KafkaConnection, pipeline: Pipeline, images: str, tmp_path: Path
) -> None:
    with pytest.raises(NoSamples) as refused:
        train(job_over(kafka, images, pipeline), kafka, tmp_path)
    reason = {"regression": "wrong-count", "multi-label": "unknown-label"}[pipeline.training.task]
    assert_readable(refused.value, reason, "label '0'")
