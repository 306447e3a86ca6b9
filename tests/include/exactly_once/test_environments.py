"""Two installations on one cluster: the same pipeline in two environments, both at work at once."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from include.definition.files import InvalidPipeline, read_pipeline
from include.definition.pipeline import Pipeline
from include.exactly_once.attempt import Attempt
from include.exactly_once.ledger import ledger_name
from include.ingest.batch import ingest_batch
from include.kafka.connection import KafkaConnection
from include.kafka.environment import InvalidEnvironment, current_environment
from include.kafka.topics import ensure_topics
from include.prediction.backlog import freeze_requests
from include.prediction.predictor import Predictor
from include.prediction.publish import publish_predictions
from tests.support.consumers import committed_records
from tests.support.tiny_pipelines import tiny_pipeline, tiny_predictor

SAMPLES = 60
ENVIRONMENTS = ("red", "blue")


def run(kafka: KafkaConnection, pipeline: Pipeline, predictor: Predictor) -> None:
    """Topics, one batch, and the predictions of its requests."""
    connection = replace(kafka, environment=pipeline.environment)
    ensure_topics(connection, pipeline.topic_specs())
    ingest_batch(Attempt(connection, pipeline.name, "ingest", "run"), pipeline, "batch", records=SAMPLES)
    ranges = freeze_requests(connection, pipeline).ranges
    publish_predictions(Attempt(connection, pipeline.name, "predict", "run"), pipeline, ranges, predictor)


def test_two_installations_with_one_pipeline_share_nothing(kafka, new_name):
    name = new_name()
    pipelines = [tiny_pipeline(name, total=SAMPLES).model_copy(update={"environment": e}) for e in ENVIRONMENTS]
    predictor = tiny_predictor()

    with ThreadPoolExecutor(len(pipelines)) as pool:
        list(pool.map(lambda pipeline: run(kafka, pipeline, predictor), pipelines))

    for pipeline in pipelines:
        samples, requests, predictions = (
            committed_records(kafka, topic)
            for topic in (pipeline.samples_topic, pipeline.requests_topic, pipeline.predictions_topic)
        )
        assert len(samples) + len(requests) == SAMPLES
        assert len(predictions) == len(requests) > 0
        assert {json.loads(record.value())["topic"] for record in predictions} == {pipeline.requests_topic}
        keys = {
            record.key().decode().split("/")[0]
            for record in committed_records(kafka, ledger_name(pipeline.environment))
        }
        assert keys == {pipeline.environment}


def test_the_default_environment_s_topics_have_no_prefix():
    pipeline = tiny_pipeline("shoes")

    names = {spec.name for spec in pipeline.topic_specs()}
    own = {f"shoes.{content}" for content in ("samples", "requests", "predictions", "repredictions", "dead-letters")}
    assert names == {*own, "millrace.ledger"}


@pytest.mark.parametrize("name", ["a.b", "a b", "ä", "x" * 65, "millrace"])
def test_an_environment_that_no_topic_can_be_named_after_is_refused(monkeypatch, tmp_path, name):
    monkeypatch.setenv("MILLRACE_ENVIRONMENT", name)
    (tmp_path / "shoes.toml").write_text('description = "shoes"\n')

    with pytest.raises(InvalidEnvironment, match="MILLRACE_ENVIRONMENT"):
        current_environment()
    found = read_pipeline(tmp_path / "shoes.toml")
    assert isinstance(found, InvalidPipeline)
    assert "MILLRACE_ENVIRONMENT" in found.faults[0]
