"""The bundled pipeline of rows: as good as gradient boosting, resumed bit for bit, predicted with its statistics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from include.artifact.model import LoadedModel, load_model
from include.codecs.row import UNKNOWN
from include.definition.files import load_pipeline
from include.definition.tables import Promotion
from include.errors import Stopped
from include.exactly_once.attempt import Attempt
from include.feed.split import group_crcs
from include.ingest.batch import ingest_batch
from include.kafka.ranges import freeze_ranges
from include.kafka.topics import ensure_topics
from include.prediction.predictor import Predictor, WrongTask, load_predictor
from include.prediction.publish import publish_predictions
from include.registry.promotion import promote
from include.registry.runs import open_run
from include.registry.versions import register_version
from include.training.initial_weights import WrongInitialWeights, resolve_initial_weights, weights_file
from include.training.job import TrainingJob
from include.training.loop import TrainedNetwork, train
from include.training.result import store_result
from tests.support.assertions import assert_readable
from tests.support.consumers import committed_records
from tests.support.mlflow_database import put_database
from tests.support.publishing import predictions
from tests.support.resumed_trainings import bits, trained_in_pieces
from tests.support.tiny_pipelines import IDENTITY

if TYPE_CHECKING:
    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection
    from include.registry.tracking import Registry

TOLERANCE = 0.02


@dataclass(frozen=True)
class Finished:
    """A whole training of the pipeline, and its model as it is loaded."""

    pipeline: Pipeline
    job: TrainingJob
    trained: TrainedNetwork
    model: LoadedModel


@pytest.fixture(scope="module")
def finished(kafka: KafkaConnection, new_name: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Finished:
    pipeline = load_pipeline("passengers").model_copy(update={"name": new_name()})
    ensure_topics(kafka, pipeline.topic_specs())
    ingest_batch(Attempt(kafka, pipeline.name, "ingest", "1"), pipeline, "all", records=pipeline.source.count())
    job = TrainingJob.of(pipeline, freeze_ranges(kafka, pipeline.samples_topic))
    folder = tmp_path_factory.mktemp("rows")
    trained = train(job, kafka, folder)
    result = store_result(folder, job, "run", trained)
    return Finished(pipeline, job, trained, load_model(result.model_directory, result.digest))


def divided(kafka: KafkaConnection, job: TrainingJob) -> dict[bool, tuple[list[bytes], list[str]]]:
    """Rows and labels of the topic, by whether they are held out; read without the feed."""
    found: dict[bool, tuple[list[bytes], list[str]]] = {True: ([], []), False: ([], [])}
    for record in committed_records(kafka, job.manifest.ranges[0].topic):
        headers = dict(record.headers() or [])
        held_out = bool(job.manifest.split.is_hash_held_out(group_crcs([headers["group"]]))[0])
        found[held_out][0].append(record.value() or b"")
        found[held_out][1].append(headers["label"].decode())
    return found


def test_it_is_as_good_as_gradient_boosting_on_the_same_split(
    kafka: KafkaConnection, finished: Finished, record_property: Callable[[str, object], None]
) -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    sides, codec = divided(kafka, finished.job), finished.model.card.codec
    features = {side: codec.decode(rows).samples for side, (rows, _) in sides.items()}
    categories = range(len(codec.numbers), len(codec.columns))
    boosting = HistGradientBoostingClassifier(categorical_features=list(categories), random_state=0)
    with threadpool_limits(1):  # more threads only wait for each other over so few rows
        boosting.fit(features[False], sides[False][1])

    reached = finished.trained.evaluation.score
    other = boosting.score(features[True], sides[True][1])
    record_property("passengers", f"accuracy {reached:.4f}, HistGradientBoosting {other:.4f}")
    assert finished.trained.evaluation.samples == len(sides[True][1]) > 200
    assert reached >= other - TOLERANCE
    assert reached >= finished.pipeline.promotion.floor


def test_statistics_are_of_the_training_side_alone(kafka: KafkaConnection, finished: Finished) -> None:
    sides, statistics = divided(kafka, finished.job), finished.trained.statistics
    assert statistics is not None
    samples = finished.model.card.codec.decode(sides[False][0]).samples[:, : len(statistics.mean)]
    np.testing.assert_allclose(statistics.mean, np.nanmean(samples, axis=0), rtol=1e-12)
    np.testing.assert_allclose(statistics.deviation, np.nanstd(samples, axis=0), rtol=1e-9)
    assert statistics.vocabularies == (("male", "female"), ("S", "C", "Q"))
    assert finished.model.card.statistics == statistics


def test_a_run_in_pieces_ends_with_the_bits_of_a_whole_one(
    kafka: KafkaConnection, finished: Finished, tmp_path: Path
) -> None:
    job = finished.job.model_copy(update={"epochs": 3})
    whole = train(job, kafka, tmp_path / "whole")
    pieces, attempts = trained_in_pieces(kafka, job, tmp_path / "pieces", 45)
    assert attempts > 2
    assert bits(pieces) == bits(whole)
    assert pieces.statistics == whole.statistics == finished.trained.statistics
    assert pieces.evaluation.metrics == whole.evaluation.metrics


def test_a_run_that_is_stopped_while_it_counts_begins_again(
    kafka: KafkaConnection, finished: Finished, tmp_path: Path
) -> None:
    with pytest.raises(Stopped, match="before its first batch"):
        train(finished.job, kafka, tmp_path, stopped=lambda: True)
    assert not (tmp_path / "checkpoints").exists()


def test_a_loaded_model_predicts_with_the_statistics_of_its_training(
    kafka: KafkaConnection, finished: Finished
) -> None:
    """Among the requests is a port that no training sample has, and a row that is none."""
    pipeline, model = finished.pipeline, finished.model
    requests = freeze_ranges(kafka, pipeline.requests_topic)
    predictor = Predictor(model.network, model.card.target, IDENTITY, model.card.statistics)
    published = publish_predictions(Attempt(kafka, pipeline.name, "predict", "run"), pipeline, requests, predictor)

    values = {record.key(): record.value() or b"" for record in committed_records(kafka, pipeline.requests_topic)}
    assert (published.predictions, published.rejected) == (len(values), 0)
    found = {answer["id"].encode(): answer["label"] for answer in predictions(kafka, pipeline)}
    with torch.inference_mode():
        inputs = torch.from_numpy(model.card.codec.to_inputs(model.card.codec.decode(list(values.values())).samples))
        expected = [pipeline.training.labels[index] for index in model.network(inputs).argmax(dim=1).tolist()]
    assert found == dict(zip(values, expected, strict=True))


def test_a_new_text_is_unknown_to_a_loaded_model(finished: Finished) -> None:
    row = b'{"pclass": 1, "age": 30, "sibsp": 0, "parch": 0, "fare": 80, "sex": "female", "embarked": "Z"}'
    inputs = finished.model.card.codec.to_inputs(finished.model.card.codec.decode([row]).samples)
    assert inputs[0, -1] == UNKNOWN


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_name: Callable[[], str]) -> Registry:
    """A registry of the test, with records of its own: each test numbers the versions of one model anew."""
    from include.registry import record
    from include.registry.tracking import open_registry

    monkeypatch.setattr(record, "STEP", new_name())
    monkeypatch.setenv("MILLRACE_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    put_database(tmp_path / "state")
    return open_registry()


def test_models_are_promoted_and_continued_with_their_own_statistics(
    kafka: KafkaConnection, registry: Registry, finished: Finished, tmp_path: Path
) -> None:
    """A second training over two of three partitions has other statistics, and one that continues the first has not."""
    pipeline, job = finished.pipeline, finished.job
    parts = job.manifest.ranges[:2]
    fewer = TrainingJob.of(pipeline, parts)
    other = train(fewer.model_copy(update={"epochs": 1}), kafka, tmp_path / "other")
    assert other.statistics != finished.trained.statistics
    versions = [
        register_version(open_run(registry, asked.run_identity(run)), store_result(tmp_path / run, asked, run, trained))
        for run, asked, trained in (("first", job, finished.trained), ("second", fewer, other))
    ]

    first = promote(kafka, registry, pipeline.name, versions[0].number, Promotion(floor=0.5))
    assert (first.promoted, first.score) == (True, finished.trained.evaluation.score)
    assert load_predictor(kafka, pipeline, "champion").statistics == finished.trained.statistics
    regression = pipeline.training.model_copy(update={"task": "regression"})
    with pytest.raises(WrongTask) as refusal:
        load_predictor(kafka, pipeline.model_copy(update={"training": regression}), "champion")
    assert_readable(refusal.value, "Version 1", "classification", "regression")
    second = promote(kafka, registry, pipeline.name, versions[1].number, Promotion(floor=0.0))
    assert second.score == other.evaluation.score

    training = pipeline.training.model_copy(update={"start_from": "champion"})
    start = resolve_initial_weights(kafka, pipeline.model_copy(update={"training": training}))
    assert start is not None
    assert start.statistics == finished.trained.statistics
    continued = TrainingJob.of(pipeline, parts, start=start, epochs=1)
    tuned = train(continued, kafka, tmp_path / "continued", weights=weights_file(start))
    assert tuned.statistics == finished.trained.statistics


@pytest.mark.parametrize("change", ["columns", "file"])
def test_weights_for_other_rows_are_no_start(
    kafka: KafkaConnection, registry: Registry, finished: Finished, tmp_path: Path, change: str
) -> None:
    job, pipeline = finished.job, finished.pipeline
    result = store_result(tmp_path / "run", job, "first", finished.trained)
    register_version(open_run(registry, job.run_identity("first")), result)
    start_from = "1" if change == "columns" else str(result.model_directory / "weights.safetensors")
    training = pipeline.training.model_copy(update={"start_from": start_from})
    swapped = pipeline.format.model_copy(update={"categories": ("embarked", "sex")})
    tables = {"training": training, **({"format": swapped} if change == "columns" else {})}
    with pytest.raises(WrongInitialWeights) as refused:
        resolve_initial_weights(kafka, pipeline.model_copy(update=tables))
    assert_readable(refused.value, "training.start_from")
