"""Storage that an Airflow connection leads to: as the source of a pipeline, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from include.definition.files import load_pipeline, pipelines_folder
from millrace.connection import NoConnection
from millrace.storage import filesystem_for
from tests.support.assertions import assert_readable
from tests.support.consumers import committed_records
from tests.support.corpus import saved, slope
from tests.support.operators import DagRun, context_of, ensure_topics, produce_batch
from tests.support.s3 import KEYS

NAMES = [f"{number % 10}/{number:02}.png" for number in range(20)]


def set_connection(monkeypatch, **values):
    monkeypatch.setenv("AIRFLOW_CONN_OBJECTS", json.dumps({"conn_type": "aws", **values}))


@pytest.fixture
def objects(bucket, monkeypatch):
    """Twenty pictures in a bucket that the connection `objects` leads to."""
    for name in NAMES:
        bucket.write(f"digits/{name}", saved(slope("L", 8, 8), "PNG"))
    extra = {"endpoint_url": bucket.endpoint, "region_name": KEYS["region"]}
    set_connection(monkeypatch, login=KEYS["access_key"], password=KEYS["secret_key"], extra=extra)
    return bucket


@pytest.fixture
def pipeline(objects, new_pipeline):
    name = new_pipeline().name
    file = pipelines_folder() / f"{name}.toml"
    source = f'kind = "folder"\npath = "{objects.path}/digits"\nconnection = "objects"\nsettle_s = 0'
    file.write_text(file.read_text().replace('kind = "digits"', source))
    return load_pipeline(name)


def sent(kafka, pipeline):
    topics = (pipeline.samples_topic, pipeline.requests_topic)
    return sorted(record.key().decode() for topic in topics for record in committed_records(kafka, topic))


def test_a_batch_is_read_from_the_storage_of_an_airflow_connection(kafka, pipeline):
    ensure_topics(pipeline)

    produce_batch(pipeline).execute(context_of(DagRun("d", "r")))

    assert sent(kafka, pipeline) == sorted(NAMES)


@pytest.mark.parametrize(("point", "left"), [("before commit", 16), ("after commit", 12)])
def test_a_killed_batch_is_sent_once(kafka, pipeline, point, left):
    ensure_topics(pipeline)
    # The first transaction fixes the range, each of the others takes four samples.
    arguments = [pipeline.name, "first", point, "3"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path])}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.s3_ingest", *arguments], env=environment, stdout=subprocess.PIPE
    ) as attempt:
        try:
            assert any(line == b"halted\n" for line in attempt.stdout), "it ended before its point"
        finally:
            attempt.kill()

    result = produce_batch(pipeline, batch="first").execute(context_of(DagRun("d", "r")))

    assert result["sent_now"] == left
    assert sent(kafka, pipeline) == sorted(NAMES)


def test_a_connection_that_airflow_lacks_is_named():
    with pytest.raises(NoConnection) as refusal:
        filesystem_for("s3://bucket/x", "nowhere")

    assert_readable(refusal.value, "'nowhere'", "s3://bucket/x", "AIRFLOW_CONN_NOWHERE")


@pytest.mark.parametrize(
    ("values", "named"),
    [({"login": "key"}, "login and password"), ({"extra": {"profile_name": "work"}}, "'profile_name'")],
)
def test_a_connection_that_says_too_little_or_too_much_is_refused(monkeypatch, values, named):
    set_connection(monkeypatch, **values)

    with pytest.raises(NoConnection) as refusal:
        filesystem_for("s3://bucket/x", "objects")

    assert_readable(refusal.value, "'objects'", named)


def test_a_storage_whose_provider_is_not_installed_names_the_package(monkeypatch):
    set_connection(monkeypatch)

    with pytest.raises(NoConnection) as refusal:
        filesystem_for("abfs://bucket/x", "objects")

    assert_readable(refusal.value, "abfs://bucket/x", "apache-airflow-providers-microsoft-azure")


def test_a_local_path_is_a_storage_as_well(monkeypatch, tmp_path):
    set_connection(monkeypatch)
    (tmp_path / "file").write_bytes(b"content")

    assert filesystem_for(str(tmp_path), "objects").cat_file(str(tmp_path / "file")) == b"content"
