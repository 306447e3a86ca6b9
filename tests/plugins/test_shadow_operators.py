"""A challenger beside the champion, by the operators: compared, answering requests without publishing, and shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from include.definition.pipeline import Pipeline
from include.kafka.connection import KafkaConnection
from include.registry.tracking import open_registry
from include.registry.versions import challenger
from include.storage.state import state_dir
from millrace.assets import model_asset
from millrace.operators import (
    CompareModelsOperator,
    FreezeRangesOperator,
    PromoteModelOperator,
    PublishPredictionsOperator,
    TrainModelOperator,
)
from tests.support.consumers import committed_records
from tests.support.mlflow_database import put_database
from tests.support.operators import DagRun, context_of, ensure_topics, produce_batch


@dataclass
class Try:
    """The attribute of a task instance that the step reads."""

    try_number: int


@pytest.fixture
def pipeline(kafka: KafkaConnection, new_pipeline: Callable[..., Pipeline]) -> Pipeline:
    """A pipeline whose challengers wait for a person; version 1, which learnt for five epochs, is champion."""
    pipeline = new_pipeline(epochs="10", floor='0\napproval = "person"\nshadow = 1.0')
    put_database(state_dir())
    ensure_topics(pipeline)
    produce_batch(pipeline, records=700).execute(context_of(DagRun(f"{pipeline.name}.ingest", "r")))
    train(pipeline, "first", epochs=5)
    outlets = [model_asset(pipeline)]
    run(PromoteModelOperator, pipeline, "train", version=1, outlets=outlets)
    return pipeline


def run(operator: type, pipeline: Pipeline, workflow: str, run_id: str = "r", **arguments: Any) -> dict[str, Any]:
    made = operator(task_id="t", pipeline=pipeline.name, **arguments)
    result: dict[str, Any] = made.execute(context_of(DagRun(f"{pipeline.name}.{workflow}", run_id)))
    return result


def train(pipeline: Pipeline, run_id: str, **arguments: Any) -> int:
    ranges = run(FreezeRangesOperator, pipeline, "train", step="train", min_new_samples=0)["ranges"]
    version: int = run(TrainModelOperator, pipeline, "train", run_id, ranges=ranges, **arguments)["version"]
    return version


def publish(pipeline: Pipeline, *, attempt: int = 1) -> dict[str, Any]:
    ranges = run(FreezeRangesOperator, pipeline, "predict", step="predict")["ranges"]
    operator = PublishPredictionsOperator(task_id="t", pipeline=pipeline.name, ranges=ranges)
    context = {**context_of(DagRun(f"{pipeline.name}.predict", "r")), "ti": Try(attempt)}
    return operator.execute(context)


def test_a_version_that_waits_for_a_person_answers_beside_the_champion_and_the_form_says_how(
    pipeline: Pipeline, kafka: KafkaConnection
) -> None:
    train(pipeline, "second")
    assert challenger(open_registry(), pipeline.name) is None

    asked = run(CompareModelsOperator, pipeline, "train", version=2)
    assert "Version 2 has answered no requests beside the champion yet" in asked["body"]
    found = challenger(open_registry(), pipeline.name)
    assert found is not None
    assert found.number == 2

    published = publish(pipeline)
    assert published["versions"] == {"1": published["predictions"]}
    assert published["shadowed"] == published["predictions"] > 0
    assert published["disagreements"] > 0
    answers = [json.loads(record.value() or b"") for record in committed_records(kafka, pipeline.predictions_topic)]
    assert {answer["version"] for answer in answers} == {1}

    again = run(CompareModelsOperator, pipeline, "train", version=2)
    assert f"of {published['shadowed']} requests as the champion does" in again["body"]
    apart = [
        answer
        for answer in answers
        if f"| {pipeline.requests_topic}/{answer['partition']}/{answer['offset']} |" in again["body"]
    ]
    assert 0 < len(apart) <= published["disagreements"]

    # A challenger may have killed the first try.
    produce_batch(pipeline, records=200).execute(context_of(DagRun(f"{pipeline.name}.ingest", "again")))
    retried = publish(pipeline, attempt=2)
    assert retried["predictions"] > 0
    assert (retried["shadowed"], retried["disagreements"]) == (0, 0)
