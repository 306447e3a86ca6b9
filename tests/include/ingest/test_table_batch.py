"""Rows of tables in the topics, through kills, growth and cells that are no samples."""

from __future__ import annotations

import pytest

from include.exactly_once.attempt import Attempt
from include.ingest.batch import ingest_batch
from include.sources.base import SourceChanged, SourceRefused
from tests.support.assertions import assert_readable
from tests.support.attempts import ingest_job, kill_at
from tests.support.consumers import committed_records
from tests.support.corpus import saved, slope
from tests.support.folders import LocalFolder
from tests.support.tables import ENDINGS, table

ROWS = [{"key": f"row-{number:02}", "letter": "abc"[number % 3], "text": f"text {number}"} for number in range(30)]
TEXT = {"kind": "text.utf8", "length": 10}


@pytest.fixture
def place(tmp_path):
    return LocalFolder(tmp_path / "tables")


@pytest.fixture
def new_table_pipeline(new_pipeline, place):
    def make(format_table=TEXT, **source):
        return new_pipeline(
            format=format_table,
            source={"kind": "table", "path": place.path, "content": "text", "label": "letter", "id": "key", **source},
        )

    return make


def ingest(kafka, pipeline, batch="first", *, records=100):
    return ingest_batch(Attempt(kafka, pipeline.name, "ingest", "run-1"), pipeline, batch, records=records)


def in_topics(kafka, pipeline):
    """Key to value of both topics, which must have no key twice."""
    records = [
        record
        for topic in (pipeline.samples_topic, pipeline.requests_topic)
        for record in committed_records(kafka, topic)
    ]
    values = {record.key().decode(): record.value().decode() for record in records}
    assert len(values) == len(records)
    return values


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_killed_batch_is_sent_once_though_its_table_grows(kafka, new_table_pipeline, place, ending):
    pipeline = new_table_pipeline()
    place.write(f"t.{ending}", table(ending, ROWS[:20]))
    kill_at("after commit", 2, ingest_job(kafka, pipeline, "first", records=15, chunk=10))
    place.write(f"t.{ending}", table(ending, ROWS), second=60)

    first, second = ingest(kafka, pipeline, "first"), ingest(kafka, pipeline, "second")

    assert (first.samples + first.requests, first.sent_now, second.start) == (15, 5, 15)
    assert in_topics(kafka, pipeline) == {row["key"]: row["text"] for row in ROWS}


def test_cells_that_are_no_samples_are_left_out_and_logged(kafka, new_table_pipeline, place, caplog):
    pipeline = new_table_pipeline()
    share = pipeline.ingest.model_copy(update={"max_refused_share": 1})
    pipeline = pipeline.model_copy(update={"ingest": share})
    bad = {3: None, 4: 7, 5: "longer than ten bytes", 6: ""}
    rows = [{**row, "text": bad.get(number, row["text"])} for number, row in enumerate(ROWS)]
    place.write("t.jsonl", table("jsonl", rows))

    result = ingest(kafka, pipeline)

    assert (result.samples + result.requests, result.refused) == (26, 4)
    assert in_topics(kafka, pipeline) == {row["key"]: row["text"] for n, row in enumerate(ROWS) if n not in bad}
    warnings = " ".join(record.getMessage() for record in caplog.records if "left out" in record.getMessage())
    for name in ("row-03", "row-04", "row-05", "row-06", "type int", "too-long", "empty"):
        assert name in warnings


def test_pictures_beside_their_table_are_sent_as_they_are(kafka, new_table_pipeline, place):
    picture = saved(slope("L", 8, 8), "PNG")
    pipeline = new_table_pipeline({"kind": "image.png", "height": 8, "width": 8}, content_is="path")
    for row in ROWS[:3]:
        place.write(f"pictures/{row['key']}.png", picture)
    place.write("t.csv", table("csv", [{**row, "text": f"pictures/{row['key']}.png"} for row in ROWS[:3]]))

    assert ingest(kafka, pipeline).sent_now == 3
    for topic in (pipeline.samples_topic, pipeline.requests_topic):
        assert {record.value() for record in committed_records(kafka, topic)} <= {picture}


def test_a_row_inserted_among_sent_ones_is_refused(kafka, new_table_pipeline, place):
    pipeline = new_table_pipeline()
    place.write("t.csv", table("csv", ROWS[1:20]))
    ingest(kafka, pipeline, "first", records=10)
    place.write("t.csv", table("csv", ROWS[:20]), second=60)

    with pytest.raises(SourceChanged) as refusal:
        ingest(kafka, pipeline, "second")

    assert_readable(refusal.value, "first 10 rows", place.path)


@pytest.mark.parametrize(
    ("task", "good", "bad"), [("multi-label", ["a,b", '["c"]', ""], "a,d"), ("regression", ["1.5", "-2"], "warm")]
)
def test_each_task_has_its_own_labels(kafka, new_pipeline, place, task, good, bad):
    source = {"kind": "table", "path": place.path, "content": "text", "label": "letter", "id": "key"}
    training = {"task": task, "labels": ["a", "b", "c"] if task == "multi-label" else ["degrees"]}
    pipeline = new_pipeline(format=TEXT, source=source, training=training, ingest={"requests_share": 0})
    place.write("t.jsonl", table("jsonl", [{**row, "letter": text} for row, text in zip(ROWS, good, strict=False)]))

    assert ingest(kafka, pipeline).samples == len(good)

    place.write("u.jsonl", table("jsonl", [{**ROWS[10], "letter": bad}]), second=60)
    with pytest.raises(SourceRefused) as refusal:
        ingest(kafka, pipeline, "second")
    assert_readable(refusal.value, bad, task, "training.labels")


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    ("task", "cells", "labels"),
    [
        ("multi-label", [["a"], ["a", "b"], []], {b'["a"]', b'["a", "b"]', b"[]"}),
        ("regression", [1.0, float("nan"), 2.5], {b"1", None, b"2.5"}),
    ],
    ids=["lists", "a number that is none"],
)
def test_typed_cells_are_the_labels_of_each_task(kafka, new_pipeline, place, ending, task, cells, labels):
    source = {"kind": "table", "path": place.path, "content": "text", "label": "letter", "id": "key"}
    training = {"task": task, "labels": ["a", "b", "c"] if task == "multi-label" else ["degrees"]}
    pipeline = new_pipeline(format=TEXT, source=source, training=training, ingest={"requests_share": 0})
    rows = [{**row, "letter": cell} for row, cell in zip(ROWS, cells, strict=False)]
    place.write(f"t.{ending}", table(ending, rows))

    assert ingest(kafka, pipeline).samples == 3

    records = committed_records(kafka, pipeline.samples_topic)
    assert {dict(record.headers()).get("label") for record in records} == labels


def test_a_label_that_the_pipeline_does_not_know_is_refused_before_anything_is_sent(kafka, new_table_pipeline, place):
    pipeline = new_table_pipeline()
    place.write("t.csv", table("csv", [*ROWS, {"key": "odd", "letter": "z", "text": "x"}]))

    with pytest.raises(SourceRefused) as refusal:
        ingest(kafka, pipeline)

    assert_readable(refusal.value, "'odd'", "'z'", f"{pipeline.name}.toml")
    assert in_topics(kafka, pipeline) == {}
