"""A served model is watched on a real broker: its requests change, labels come late, and each counts once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from include.definition.pipeline import Pipeline
from include.errors import NothingToDo
from include.exactly_once.attempt import Attempt
from include.exactly_once.snapshot import snapshot_ledger
from include.kafka.records import Address
from include.prediction.predictor import Predictor
from include.watching.model import WatchedModel
from include.watching.watch import STEP, WatchResult, watch
from tests.support.administrator import delete_records
from tests.support.assertions import assert_readable
from tests.support.producers import NOW_MS, Record, produce
from tests.support.published_values import prediction_value
from tests.support.publishing import ask, publish, request
from tests.support.recorded_metrics import RecordedMetrics
from tests.support.tiny_pipelines import letter, numbers, sample_id, tiny_predictor, tiny_watched

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection

LIMITS = {"min_samples": 100, "min_score": 0.9, "max_calibration_error": 0.45}


@pytest.fixture
def pipeline(new_pipeline: Callable[..., Pipeline], new_topic: Callable[..., str]) -> Pipeline:
    """A pipeline with a topic for the labels of its answers."""
    return new_pipeline(watch={**LIMITS, "labels": {"topic": new_topic(partitions=2)}})


@pytest.fixture
def predictor(pipeline: Pipeline) -> Predictor:
    return tiny_predictor(pipeline.name)


@pytest.fixture
def model(pipeline: Pipeline, predictor: Predictor) -> WatchedModel:
    return tiny_watched(predictor)


@pytest.fixture
def look(kafka: KafkaConnection, pipeline: Pipeline, model: WatchedModel) -> Callable[..., WatchResult]:
    def look(run: str = "run", **changed: Any) -> WatchResult:
        watched, settings = changed.pop("model", model), {}
        if changed:
            settings = {"watch": pipeline.watch.model_copy(update=changed)}
        return watch(Attempt(kafka, pipeline.name, STEP, run), pipeline.model_copy(update=settings), watched)

    return look


@pytest.fixture
def serve(kafka: KafkaConnection, pipeline: Pipeline, predictor: Predictor) -> Callable[..., None]:
    """Sends requests and predicts them."""

    def serve(positions: Iterable[int], *, shift: float = 0.0) -> None:
        values = [(position, (numbers(position) + np.float32(shift)).tobytes()) for position in positions]
        requests = [request(position, value=value) for position, value in values]
        publish(kafka, pipeline, ask(kafka, pipeline, *requests), predictor)

    return serve


def late(pipeline: Pipeline, kafka: KafkaConnection, positions: Iterable[int], *, wrong: bool = False) -> None:
    """Labels, true or wrong, half of them in each partition."""
    for partition in (0, 1):
        records = []
        for position in positions:
            true = letter(numbers(position))
            label = "abca"["abc".index(true) + 1] if wrong else true
            if position % 2 == partition:
                records.append(Record(label.encode(), sample_id(position).encode()))
        produce(kafka, pipeline.late_labels.topic, records, partition=partition)


def test_requests_like_the_held_out_samples_do_not_drift(look, serve, kafka, pipeline):
    serve(range(300))

    found = look()

    assert found.figures.samples == 300
    assert 0 <= found.figures.input_drift < 0.1
    assert 0 <= found.figures.prediction_drift < 0.1
    assert (found.figures.labelled, found.figures.score, found.figures.calibration_error) == (0, None, None)
    assert (found.over, found.new) == ({}, ())


def test_requests_that_change_are_over_the_limit_once_and_an_attempt_again_says_so_again(look, serve):
    serve(range(300))
    assert look("first").over == {}
    serve(range(300, 600), shift=3)

    found = look("second", window=300)

    assert found.figures.input_drift > 0.25
    assert found.new == ("input_drift",)
    assert "inputs of version 7" in found.over["input_drift"]
    assert "'mean' is" in found.over["input_drift"]
    assert "watch.max_drift is 0.25" in found.over["input_drift"]
    # As after a crash between the ledger and the alert.
    assert look("second", window=300).new == ("input_drift",)
    assert look("third", window=300).new == ()
    assert "input_drift" in look("third", window=300).over


def test_answers_drift_when_one_label_takes_over(look, serve, kafka, pipeline, predictor):
    values = [np.array([9, 0, 0, 0], "f4") + numbers(position) / 10 for position in range(200)]
    requests = [request(position, value=value.tobytes()) for position, value in enumerate(values)]
    publish(kafka, pipeline, ask(kafka, pipeline, *requests), predictor)

    found = look()

    assert "prediction_drift" in found.new
    assert found.figures.answers["label"] > 0.25
    assert found.figures.answers["score"] > 0.25


def test_labels_count_once_when_they_come_and_as_they_are_corrected(look, serve, kafka, pipeline):
    serve(range(200))
    late(pipeline, kafka, range(99))
    assert (look().figures.labelled, look().figures.score) == (99, None)

    late(pipeline, kafka, range(99, 200))
    found = look()
    assert (found.figures.labelled, found.figures.score) == (200, 1.0)
    assert found.over == {}

    # The same label again is no other one, and what is corrected or withdrawn counts as it is now.
    late(pipeline, kafka, range(20))
    late(pipeline, kafka, range(20, 60), wrong=True)
    produce(kafka, pipeline.late_labels.topic, [Record(None, sample_id(199).encode())], partition=1)
    found = look()
    assert found.figures.labelled == 199
    assert found.figures.score == pytest.approx(159 / 199)
    assert found.new == ("score",)
    assert "accuracy 0.7990" in found.over["score"]
    assert "watch.min_score is 0.9" in found.over["score"]


def test_labels_are_those_that_the_model_has_learnt_and_not_those_of_a_file_that_has_changed(
    kafka, pipeline, model, serve
):
    """A class was added in front: the champion goes on until a version that knows it is promoted."""
    training = pipeline.training.model_copy(update={"labels": ("new", *pipeline.training.labels)})
    serve(range(200))
    late(pipeline, kafka, range(200))
    produce(kafka, pipeline.late_labels.topic, [Record(b"new", sample_id(0).encode())])

    attempt = Attempt(kafka, pipeline.name, STEP, "run")
    found = watch(attempt, pipeline.model_copy(update={"training": training}), model)

    assert (found.figures.labelled, found.figures.score) == (199, 1.0)


def test_scores_that_promise_too_much_are_no_probabilities(look, serve, kafka, pipeline):
    serve(range(200))
    late(pipeline, kafka, range(200), wrong=True)

    found = look(max_drift=100)

    assert found.figures.calibration_error > 0.5
    assert set(found.new) == {"score", "calibration_error"}
    assert "watch.max_calibration_error is 0.45" in found.over["calibration_error"]


def test_labels_that_the_pipeline_does_not_have_and_of_unknown_requests_do_not_count(
    look, serve, kafka, pipeline, caplog
):
    serve(range(120))
    late(pipeline, kafka, range(1, 300))
    produce(kafka, pipeline.late_labels.topic, [Record(b"z", sample_id(0).encode())])

    found = look()

    assert (found.figures.labelled, found.figures.score) == (119, 1.0)
    assert "1 labels of" in caplog.text


def test_only_the_newest_of_the_window_are_looked_at(look, serve, kafka, pipeline):
    serve(range(300))
    late(pipeline, kafka, range(100), wrong=True)
    late(pipeline, kafka, range(100, 300))

    found = look(window=200, min_samples=100)

    assert (found.figures.samples, found.figures.labelled, found.figures.score) == (200, 200, 1.0)


def test_answers_of_other_models_and_old_ones_do_not_count(look, serve, kafka, pipeline, model):
    serve(range(100))

    def published(position: int, identity: Any, age_s: int = 0) -> Record:
        value = prediction_value(
            sample_id(position), {"label": "a", "score": 0.5}, identity, Address(pipeline.requests_topic, 0, 0), NOW_MS
        )
        headers = [identity.header]
        return Record(value, sample_id(position).encode(), headers, NOW_MS - 1000 * age_s)

    other, again = replace(model.identity, version=8), replace(model.identity, digest="e" * 64)
    records = [published(0, other), published(0, again), published(1, model.identity, age_s=7200)]
    produce(kafka, pipeline.predictions_topic, [*records, Record(b"no prediction", sample_id(2).encode())])
    late(pipeline, kafka, range(100))

    assert look(label_delay_s=3600).figures.labelled == 100
    assert look(label_delay_s=10_000).figures.labelled == 101


def test_requests_that_retention_has_removed_are_left_out(look, serve, kafka, pipeline):
    serve(range(300))
    delete_records(kafka, pipeline.requests_topic, 200)
    assert look().figures.input_drift is not None

    delete_records(kafka, pipeline.requests_topic, 201)
    found = look().figures

    assert (found.samples, found.input_drift) == (300, None)
    assert found.prediction_drift is not None


def test_too_few_answers_are_not_judged(look, serve, caplog):
    serve(range(99), shift=5)

    found = look()

    assert found.figures.samples == 99
    assert (found.figures.input_drift, found.figures.prediction_drift, found.over) == (None, None, {})
    assert "is not known: it has answered 99 requests lately and watch.min_samples is 100" in caplog.text


def test_answers_are_not_compared_with_a_handful_of_held_out_samples(look, serve, predictor, caplog):
    serve(range(150), shift=5)

    found = look(model=tiny_watched(predictor, samples=99))

    assert (found.figures.input_drift, found.figures.prediction_drift, found.over) == (None, None, {})
    assert "is not known: it was trained with 99 held-out samples and a comparison takes 100" in caplog.text


def test_a_model_without_a_reference_has_a_score_and_no_drift(look, serve, kafka, pipeline, model, caplog):
    serve(range(150), shift=5)
    late(pipeline, kafka, range(150))

    found = look(model=replace(model, reference=None))

    assert (found.figures.input_drift, found.figures.labelled) == (None, 150)
    assert "it is from before models kept what their samples are like" in caplog.text


def test_a_version_that_has_answered_nothing_is_nothing_to_watch(look):
    with pytest.raises(NothingToDo) as refused:
        look()
    assert_readable(refused.value, "Version 7 of", "answered nothing lately")


def test_the_ledger_has_the_figures_and_metrics_are_reported(kafka, pipeline, model, serve):
    serve(range(150))
    late(pipeline, kafka, range(150))
    metrics = RecordedMetrics()
    attempt = Attempt(kafka, pipeline.name, STEP, "run", metrics=metrics)

    found = watch(attempt, pipeline, model)

    key = attempt.key("7")
    assert snapshot_ledger(kafka, [key])[key] == {**found.to_dict(), "before": [], "run": "run"}
    names = {name.removeprefix(f"{pipeline.name}.watch.") for name in metrics.gauges}
    assert names == {"input_drift", "prediction_drift", "live_accuracy", "calibration_error"}
