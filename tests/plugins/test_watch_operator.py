"""A trained and promoted model is watched by the operator, as its DAG does it: one alert and one event a figure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from include.definition.files import load_pipeline, pipelines_folder
from include.definition.pipeline import Pipeline
from include.kafka.connection import KafkaConnection
from include.kafka.headers import write_headers
from include.storage.state import state_dir
from millrace.assets import model_asset, watch_asset
from millrace.operators import (
    FreezeRangesOperator,
    PromoteModelOperator,
    PublishPredictionsOperator,
    TrainModelOperator,
    WatchModelOperator,
)
from tests.support.http_notifier import Receiver, receiving
from tests.support.mlflow_database import put_database
from tests.support.operators import DagRun, context_of, ensure_topics, produce_batch
from tests.support.producers import Record, produce

WATCH = "[watch]\nretrain = true\nmin_samples = 40\nwindow = 60\n"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def pipeline(kafka: KafkaConnection, new_pipeline: Callable[..., Pipeline], receiver: Receiver) -> Pipeline:
    """A pipeline with `[watch]`, topics, and a registry that is ready."""
    name = new_pipeline(epochs="3").name
    file = pipelines_folder() / f"{name}.toml"
    file.write_text(f"{file.read_text()}\n{WATCH}{receiver.toml}")
    put_database(state_dir())
    pipeline = load_pipeline(name)
    ensure_topics(pipeline)
    return pipeline


def run(operator: type, pipeline: Pipeline, workflow: str, **arguments: Any) -> dict[str, Any]:
    made = operator(task_id="t", pipeline=pipeline.name, **arguments)
    result: dict[str, Any] = made.execute(context_of(DagRun(f"{pipeline.name}.{workflow}", "r")))
    return result


def serve(pipeline: Pipeline) -> None:
    """Train, promote and predict what waits."""
    frozen = run(FreezeRangesOperator, pipeline, "train", step="train", min_new_samples=0)
    version = run(TrainModelOperator, pipeline, "train", ranges=frozen["ranges"])["version"]
    outlets = [model_asset(pipeline)]
    run(PromoteModelOperator, pipeline, "train", version=version, floor=0.0, outlets=outlets)
    predict(pipeline)


def predict(pipeline: Pipeline) -> None:
    frozen = run(FreezeRangesOperator, pipeline, "predict", step="predict")
    run(PublishPredictionsOperator, pipeline, "predict", ranges=frozen["ranges"])


def watch(pipeline: Pipeline, run_id: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The result, and what the events of the asset say."""
    asset = watch_asset(pipeline)
    operator = WatchModelOperator(task_id="t", pipeline=pipeline.name, outlets=[asset])
    context = context_of(DagRun(f"{pipeline.name}.watch", run_id))
    result = operator.execute(context)
    return result, [context["outlet_events"][outlet].extra for outlet in operator.outlets]


def test_a_model_that_serves_what_it_knows_is_well_and_darker_images_are_one_alert_and_one_event(
    pipeline: Pipeline, kafka: KafkaConnection, receiver: Receiver
) -> None:
    with pytest.raises(AirflowSkipException, match="has no champion yet"):
        watch(pipeline, "none")
    produce_batch(pipeline, records=900).execute(context_of(DagRun(f"{pipeline.name}.ingest", "r")))
    serve(pipeline)

    well, events = watch(pipeline, "first")
    assert (well["version"], well["samples"], well["labelled"], well["over"]) == (1, 60, 0, [])
    assert (events, receiver.alerts) == ([], [])

    codec = pipeline.format
    dark = [
        Record(codec.encode(sample.content // 4), sample.id.encode(), write_headers(codec.schema_name))
        for sample in pipeline.source.read(0, 60)
    ]
    produce(kafka, pipeline.requests_topic, dark)
    predict(pipeline)

    drifted, events = watch(pipeline, "second")
    assert drifted["over"][0] == "input_drift"
    assert events == [drifted]
    (text,) = receiver.of("watch")
    assert "The inputs of version 1" in text

    again, events = watch(pipeline, "third")
    assert again["over"] == drifted["over"]
    assert (events, len(receiver.of("watch"))) == ([], 1)


def test_one_new_sample_is_enough_for_the_training_that_a_figure_starts(
    pipeline: Pipeline, kafka: KafkaConnection
) -> None:
    produce_batch(pipeline, records=20).execute(context_of(DagRun(f"{pipeline.name}.ingest", "r")))
    operator = FreezeRangesOperator(task_id="t", pipeline=pipeline.name, step="train", min_new_samples=1000)
    context = context_of(DagRun(f"{pipeline.name}.train", "r"))

    with pytest.raises(AirflowSkipException, match="a training needs 1000"):
        operator.execute(context)
    started = {**context, "triggering_asset_events": {watch_asset(pipeline): []}}
    assert operator.execute(started)["ranges"]
