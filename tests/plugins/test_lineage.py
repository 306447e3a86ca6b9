"""What tasks have read and written, as OpenLineage's own client sends it to a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from include.definition.pipeline import Pipeline
from include.kafka.connection import KafkaConnection
from include.registry.tracking import migrate
from millrace.assets import model_asset, predictions_asset, requests_asset, samples_asset
from millrace.operators import (
    FreezeRangesOperator,
    PromoteModelOperator,
    PublishPredictionsOperator,
    TrainModelOperator,
)
from millrace.operators.base import PipelineOperator
from tests.support.operators import DagRun, context_of, ensure_topics, produce_batch

client = pytest.importorskip("openlineage.client")

NewPipeline = Callable[..., Pipeline]


def emitted(folder: Path, operator: PipelineOperator) -> dict[str, Any]:
    """The event of a task that has ended, as the provider's extractor builds it from the operator."""
    from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
    from openlineage.client.transport.file import FileConfig, FileTransport

    found = operator.get_openlineage_facets_on_complete(None)
    assert found.job_facets == {}
    event = RunEvent(
        eventTime="2026-11-30T00:00:00Z",
        eventType=RunState.COMPLETE,
        run=Run(str(uuid4()), facets=found.run_facets),
        job=Job("airflow", operator.task_id),
        inputs=found.inputs,
        outputs=found.outputs,
    )
    path = folder / f"{uuid4()}.json"
    FileTransport(FileConfig(str(path), append=True)).emit(event)
    sent: dict[str, Any] = json.loads(path.read_text())
    return sent


def execute(operator: Any, workflow: str) -> Any:
    return operator.execute(context_of(DagRun(f"{operator.pipeline}.{workflow}", "r")))


def named(datasets: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in datasets}


def test_the_events_of_a_flow_name_topics_with_offsets_rows_manifest_and_version(
    kafka: KafkaConnection, new_pipeline: NewPipeline, tmp_path: Path
) -> None:
    pipeline = new_pipeline(epochs="10", min_new_samples="100")
    migrate()
    ensure_topics(pipeline)
    cluster = f"kafka://{kafka.bootstrap_servers}"

    ingest = produce_batch(pipeline, records=700)
    sent = execute(ingest, "ingest")
    outputs = named(emitted(tmp_path, ingest)["outputs"])
    assert {name: item["namespace"] for name, item in outputs.items()} == dict.fromkeys(
        (pipeline.samples_topic, pipeline.requests_topic), cluster
    )
    rows = {name: item["outputFacets"]["outputStatistics"]["rowCount"] for name, item in outputs.items()}
    assert rows == {pipeline.samples_topic: sent["samples"], pipeline.requests_topic: sent["requests"]}

    freeze = FreezeRangesOperator(task_id="f", pipeline=pipeline.name, step="train", min_new_samples=0)
    ranges = execute(freeze, "train")["ranges"]
    offsets = [{name: item[name] for name in ("partition", "start", "end")} for item in ranges]
    train = TrainModelOperator(task_id="t", pipeline=pipeline.name, ranges=ranges)
    trained = execute(train, "train")
    for operator in (freeze, train):
        (read,) = emitted(tmp_path, operator)["inputs"]
        assert (read["namespace"], read["name"]) == (cluster, pipeline.samples_topic)
        assert read["inputFacets"]["millrace_offsets"]["partitions"] == offsets
    event = emitted(tmp_path, train)
    assert [item["name"] for item in event["outputs"]] == [f"{pipeline.name}/1"]
    facet = event["run"]["facets"]["millrace"]
    assert (facet["manifest"], facet["version"]) == (trained["manifest"], 1)

    promote = PromoteModelOperator(
        task_id="p", pipeline=pipeline.name, version=1, floor=0, outlets=[model_asset(pipeline)]
    )
    execute(promote, "train")
    requests = FreezeRangesOperator(task_id="f", pipeline=pipeline.name, step="predict")
    publish = PublishPredictionsOperator(
        task_id="p",
        pipeline=pipeline.name,
        ranges=execute(requests, "predict")["ranges"],
        outlets=[predictions_asset(pipeline)],
    )
    published = execute(publish, "predict")
    event = emitted(tmp_path, publish)
    inputs, outputs = named(event["inputs"]), named(event["outputs"])
    assert set(inputs) == {pipeline.requests_topic, f"{pipeline.name}/1"}
    facets = inputs[pipeline.requests_topic]["inputFacets"]
    assert facets["inputStatistics"]["rowCount"] == published["samples"]
    assert sum(one["end"] - one["start"] for one in facets["millrace_offsets"]["partitions"]) >= published["samples"]
    rows = outputs[pipeline.predictions_topic]["outputFacets"]["outputStatistics"]["rowCount"]
    assert rows == published["predictions"] == sent["requests"]
    assert event["run"]["facets"]["millrace"]["version"] == 1
    assert event["run"]["facets"]["millrace"]["manifest"] == trained["manifest"]


def test_a_task_that_did_nothing_has_no_lineage(new_pipeline: NewPipeline) -> None:
    operator = PromoteModelOperator(task_id="p", pipeline=new_pipeline().name, version=1)

    assert operator.get_openlineage_facets_on_complete(None) is None


def test_a_topic_s_asset_has_the_provider_s_uri(new_pipeline: NewPipeline) -> None:
    from airflow.providers.apache.kafka.assets.kafka import convert_asset_to_openlineage

    pipeline = new_pipeline()
    for asset in (samples_asset(pipeline), requests_asset(pipeline), predictions_asset(pipeline)):
        assert asset.uri == f"kafka://kafka_default/{asset.name}"
        found = convert_asset_to_openlineage(asset, None)
        assert (found.namespace, found.name) == ("kafka://kafka_default", asset.name)


def test_external_topics_of_two_clusters_are_two_assets(new_pipeline: NewPipeline) -> None:
    plain = new_pipeline()
    theirs = plain.model_copy(update={"topics": plain.topics.model_copy(update={"samples": "theirs"})})
    elsewhere = theirs.model_copy(update={"connection": "kafka_two"})

    assert samples_asset(theirs).name == "theirs"
    assert (samples_asset(elsewhere).name, samples_asset(elsewhere).uri) == (
        "kafka_two/theirs",
        "kafka://kafka_two/theirs",
    )
