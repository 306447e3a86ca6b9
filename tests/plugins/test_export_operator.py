"""Predictions to Parquet files, by the operator as its DAG renders it, on the real broker."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from include.definition.files import load_pipeline, pipelines_folder
from include.export import export as export_module
from include.kafka.records import Address
from tests.support.assertions import assert_readable
from tests.support.dags import load_dags
from tests.support.operators import DagRun, context_of, ensure_topics
from tests.support.producers import NOW_MS, Record, produce
from tests.support.published_values import prediction_value
from tests.support.s3 import KEYS
from tests.support.tiny_pipelines import IDENTITY


@pytest.fixture
def new_export(kafka, new_pipeline):
    """Makes a pipeline with three predictions and an `[export]`."""

    def make(export):
        pipeline = exporting(new_pipeline(partitions="1"), export)
        ensure_topics(pipeline)
        values = (
            prediction_value("id", {"label": "1", "score": 0.5}, IDENTITY, Address("t", 0, n), NOW_MS) for n in range(3)
        )
        produce(kafka, pipeline.predictions_topic, map(Record, values))
        return pipeline

    return make


def exporting(pipeline, export):
    file = pipelines_folder() / f"{pipeline.name}.toml"
    file.write_text(f"{file.read_text()}\n[export]\n{export}\n")
    return load_pipeline(pipeline.name)


def export(pipeline):
    """Run the DAG's tasks; the last one's result."""
    dag = load_dags().dags[f"{pipeline.name}.export"]
    context = context_of(DagRun(dag.dag_id, "r"))
    for operator in dag.topological_sort():
        operator.render_template_fields({**context, "params": {"accept_lost": False}})
        result = operator.execute(context)
    return result


def test_predictions_are_written_once_and_the_next_run_skips(new_export, tmp_path):
    pipeline = new_export(f'path = "{tmp_path}/out"\nschedule = "15 3 * * *"')

    assert export(pipeline) == {"rows": 3, "files": 1, "left_out": 0}
    with pytest.raises(AirflowSkipException, match=r"has nothing new to write: nothing was exported\.$"):
        export(pipeline)

    assert pd.read_parquet(tmp_path / "out")["offset"].tolist() == [0, 1, 2]


@pytest.mark.usefixtures("kafka")
def test_a_run_before_anything_was_sent_skips(new_pipeline, tmp_path):
    pipeline = exporting(new_pipeline(), f'path = "{tmp_path}/out"')

    with pytest.raises(AirflowSkipException, match="nothing was exported"):
        export(pipeline)


def test_the_storage_of_an_airflow_connection_takes_them(new_export, bucket, monkeypatch):
    extra = {"endpoint_url": bucket.endpoint, "region_name": KEYS["region"]}
    keys = {"login": KEYS["access_key"], "password": KEYS["secret_key"]}
    monkeypatch.setenv("AIRFLOW_CONN_OBJECTS", json.dumps({"conn_type": "aws", **keys, "extra": extra}))

    assert export(new_export(f'path = "{bucket.path}/out"\nconnection = "objects"'))["rows"] == 3

    found = pd.read_parquet(f"{bucket.name}/out", filesystem=bucket.filesystem().fs)
    assert found["offset"].tolist() == [0, 1, 2]


def test_a_storage_without_a_connection_fails_for_good(new_export):
    with pytest.raises(AirflowFailException, match=r"connection in \[export\]\.$"):
        export(new_export('path = "s3://bucket/out"'))


@pytest.mark.parametrize("connection", ["", 'connection = "objects"'], ids=["alone", "with a connection"])
def test_a_storage_without_atomic_writes_fails_for_good_before_anything_is_planned(new_export, monkeypatch, connection):
    """And before its provider is asked for, which is not installed here."""
    monkeypatch.setattr(export_module, "export_predictions", None)
    monkeypatch.setenv("AIRFLOW_CONN_OBJECTS", json.dumps({"conn_type": "sftp", "host": "host"}))

    with pytest.raises(AirflowFailException) as refusal:
        export(new_export(f'path = "sftp://host/out"\n{connection}'))

    assert_readable(refusal.value, "sftp://host/out", "'sftp'", "local folder", "s3")


def test_the_dag_runs_by_its_schedule_and_a_pipeline_without_a_table_has_none(new_export, new_pipeline, tmp_path):
    exported, other = new_export(f'path = "{tmp_path}/out"\nschedule = "15 3 * * *"'), new_pipeline()

    dags = load_dags().dags

    assert dags[f"{exported.name}.export"].timetable.expression == "15 3 * * *"
    assert f"{other.name}.export" not in dags
    assert f"{other.name}.predict" in dags
