"""Change data capture: a topic of versions of rows is learnt and answered as the rows are at its frozen end."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from include.codecs.raw import RawCodec
from include.definition.files import InvalidPipeline, read_pipeline
from include.feed.feed import Feed
from include.kafka.ranges import freeze_ranges
from include.kafka.topics import ensure_topics
from include.overview.records import decode_record
from include.reading.records import record_reader
from include.training.job import TrainingJob
from tests.support.consumers import committed_records
from tests.support.external_topics import ARTICLE, external_pipeline
from tests.support.producers import NOW_MS, Record, produce
from tests.support.publishing import dead_letters, predictions, publish
from tests.support.tiny_pipelines import LETTERS, tiny_predictor

CODEC = RawCodec(shape=(4,), dtype="float32")
DELETED = {"field": "payload.op", "value": "d"}
DEBEZIUM = {"kind": "json", "content": "payload.after.x", "content_is": "base64", "id": "payload.after.id"}
BY_ID = {**DEBEZIUM, "newest_of": "id", "deleted": DELETED}
BY_KEY = {**DEBEZIUM, "newest_of": "key", "deleted": DELETED}
LABEL = {"kind": "field", "name": "payload.after.label"}


def row(number, label, content=None):
    """A row whose four numbers are its number, unless its content is given."""
    numbers = np.full(4, number, np.float32).tobytes() if content is None else content
    return {"id": number, "x": base64.b64encode(numbers).decode(), "label": label}


def key_of(number):
    return json.dumps({"schema": {"type": "struct"}, "payload": {"id": number}}).encode()


def event(op, number, before, after, **more):
    return Record(
        json.dumps({"payload": {"op": op, "before": before, "after": after}}).encode(), key_of(number), **more
    )


def put(number, label, content=None, **more):
    return event("u", number, None, row(number, label, content), **more)


def delete(number):
    return event("d", number, {"id": number}, None)


def tombstone(number):
    return Record(None, key_of(number))


@pytest.fixture
def table(kafka, new_topic, new_name):
    """Makes a pipeline over a topic with an envelope, its own topics too."""

    def make(envelope, *, partitions=1, **tables):
        topic = new_topic(partitions=partitions)
        training = {"labels": list(LETTERS), "schedule": "0 * * * *", "held_out": 1e-9}
        pipeline = external_pipeline(
            new_name(),
            **{
                "topics": {"samples": topic, "requests": topic},
                "envelope": envelope,
                "labels": LABEL,
                "training": training,
                **tables,
            },
        )
        ensure_topics(kafka, pipeline.topic_specs())
        return pipeline

    return make


def learnt(kafka, pipeline):
    """Label by row, and the report, of what the topic holds now."""
    manifest = TrainingJob.of(pipeline, freeze_ranges(kafka, pipeline.samples_topic)).manifest
    feed = Feed(kafka, manifest, CODEC, batch_size=10)
    found = []
    for inputs, labels in feed:
        found += zip(inputs[:, 0].int().tolist(), [LETTERS[label] for label in labels.tolist()], strict=True)
    assert len(dict(found)) == len(found), "a row is learnt once"
    return dict(found), feed.report


def counts(report):
    return report.total, report.superseded, report.deletions, sum(report.refused.values())


CHANGES = [
    put(1, "a"),
    put(2, "a"),
    put(3, "a"),
    put(4, "a"),
    put(1, "b"),
    put(1, "c"),
    delete(2),
    tombstone(2),
    delete(3),
    tombstone(3),
    put(3, "b"),
    tombstone(4),
]


@pytest.mark.parametrize("envelope", [BY_ID, BY_KEY], ids=["by id", "by key"])
def test_the_newest_state_of_a_row_is_learnt_and_answered_once(kafka, table, envelope):
    """Row 1 is corrected twice, 2 deleted, 3 deleted and made again, and 4 deleted by a tombstone alone."""
    pipeline = table(envelope)
    produce(kafka, pipeline.samples_topic, CHANGES)

    rows, report = learnt(kafka, pipeline)
    published = publish(kafka, pipeline, freeze_ranges(kafka, pipeline.requests_topic), tiny_predictor())

    assert rows == {1: "c", 3: "b"}
    assert counts(report) == (2, 5, 5, 0)
    assert sorted(answer["id"] for answer in predictions(kafka, pipeline)) == ["1", "3"]
    assert sorted(answer["offset"] for answer in predictions(kafka, pipeline)) == [5, 10]
    assert (published.samples, published.predictions, published.rejected) == (12, 2, 0)
    assert (published.superseded, published.deletions) == (5, 5)
    assert str(published) == "12 samples in, 2 predictions, 0 dead letters, 5 superseded, 5 deletions"
    assert dead_letters(kafka, pipeline) == []


def test_a_manifest_gives_the_state_at_its_own_end(kafka, table):
    pipeline = table(BY_ID)
    produce(kafka, pipeline.samples_topic, CHANGES)
    manifest = TrainingJob.of(pipeline, freeze_ranges(kafka, pipeline.samples_topic)).manifest
    produce(kafka, pipeline.samples_topic, [put(1, "a"), delete(3), put(9, "a")])

    feed = Feed(kafka, manifest, CODEC, batch_size=10)

    assert sorted(label for _, labels in feed for label in labels.tolist()) == [1, 2]
    assert learnt(kafka, pipeline)[0] == {1: "a", 9: "a"}


def test_a_pipeline_that_says_nothing_of_versions_reads_every_record(kafka, table):
    pipeline = table(DEBEZIUM)
    produce(kafka, pipeline.samples_topic, [put(1, "a"), put(2, "b"), tombstone(2)])

    _, report = learnt(kafka, pipeline)

    assert counts(report) == (2, 0, 0, 1)
    manifest = TrainingJob.of(pipeline, freeze_ranges(kafka, pipeline.samples_topic)).manifest
    assert set(manifest.to_dict()["reading"]["envelope"]) == {"kind", "content", "content_is", "id", "group"}


def test_in_several_chunks_and_attempts_a_row_is_still_answered_once(kafka, table):
    pipeline = table(BY_ID, prediction={"schedule": "0 * * * *", "chunk_samples": 2})
    produce(kafka, pipeline.samples_topic, CHANGES)
    ranges = freeze_ranges(kafka, pipeline.requests_topic)

    publish(kafka, pipeline, ranges, tiny_predictor())
    again = publish(kafka, pipeline, ranges, tiny_predictor())

    assert sorted(answer["offset"] for answer in predictions(kafka, pipeline)) == [5, 10]
    assert again.samples == 0


def test_a_later_run_answers_what_has_changed_since(kafka, table):
    pipeline = table(BY_KEY)
    produce(kafka, pipeline.samples_topic, [put(1, "a"), put(2, "a")])
    publish(kafka, pipeline, freeze_ranges(kafka, pipeline.requests_topic), tiny_predictor())
    produce(kafka, pipeline.samples_topic, [put(2, "b"), delete(1), tombstone(1)])

    published = publish(kafka, pipeline, freeze_ranges(kafka, pipeline.requests_topic), tiny_predictor(), run="run-2")

    assert (published.predictions, published.superseded, published.deletions) == (1, 0, 2)
    assert sorted(answer["id"] for answer in predictions(kafka, pipeline)) == ["1", "2", "2"]


def test_deletions_are_no_rejections_in_a_row(kafka, table):
    limits = {"schedule": "0 * * * *", "max_rejected_in_a_row": 3, "max_rejected_share": 0.0}
    pipeline = table(BY_KEY, prediction=limits)
    produce(kafka, pipeline.samples_topic, [item for n in range(60) for item in (delete(n), tombstone(n))])

    published = publish(kafka, pipeline, freeze_ranges(kafka, pipeline.requests_topic), tiny_predictor())

    assert (published.samples, published.deletions) == (120, 120)


@pytest.mark.parametrize("envelope", [BY_ID, BY_KEY], ids=["by id", "by key"])
def test_a_broken_newest_version_brings_no_older_one_back(kafka, table, envelope):
    pipeline = table(envelope)
    broken = event("u", 1, None, {"id": 1, "x": "no base64", "label": "a"})
    no_label = event("u", 2, None, {**row(2, "a"), "label": {}})
    produce(kafka, pipeline.samples_topic, [put(1, "a"), put(2, "a"), put(3, "a"), broken, no_label])

    rows, report = learnt(kafka, pipeline)
    published = publish(kafka, pipeline, freeze_ranges(kafka, pipeline.requests_topic), tiny_predictor())

    assert (rows, report.refused) == ({3: "a"}, {"invalid-base64": 1, "wrong-type": 1})
    # Nobody asks for the label of a request.
    assert (published.predictions, published.dead_letters) == (2, {"invalid-base64": 1})


def test_a_row_in_several_partitions_is_what_was_written_last(kafka, table):
    pipeline = table(BY_ID, partitions=2)
    produce(kafka, pipeline.samples_topic, [put(1, "b", timestamp_ms=NOW_MS + 5), put(2, "a", timestamp_ms=NOW_MS)])
    others = [put(1, "a", timestamp_ms=NOW_MS + 1), put(2, "b", timestamp_ms=NOW_MS + 9)]
    produce(kafka, pipeline.samples_topic, others, partition=1)

    rows, report = learnt(kafka, pipeline)

    assert (rows, counts(report)) == ({1: "b", 2: "b"}, (2, 2, 0, 0))


def test_in_one_partition_the_order_counts_and_no_timestamp(kafka, table):
    pipeline = table(BY_KEY)
    produce(kafka, pipeline.samples_topic, [put(1, "a", timestamp_ms=NOW_MS + 500), put(1, "b", timestamp_ms=NOW_MS)])

    assert learnt(kafka, pipeline)[0] == {1: "b"}


def test_a_deletion_names_its_row_by_a_field_where_the_key_names_something_else(kafka, table):
    """The key is a customer's, who has two rows; the tombstone of that key deletes neither."""
    pipeline = table({**BY_ID, "deleted": {**DELETED, "id": "payload.before.id"}})
    changes = [put(1, "a"), put(2, "a"), delete(1), tombstone(1)]
    produce(kafka, pipeline.samples_topic, [Record(change.value, b"customer") for change in changes])

    rows, report = learnt(kafka, pipeline)

    assert (rows, counts(report)) == ({2: "a"}, (1, 1, 2, 0))


def test_without_an_envelope_the_key_is_the_row(kafka, table):
    pipeline = table({"kind": "bare", "newest_of": "key"}, labels={"kind": "header", "name": "label"})
    content = [np.full(4, number, np.float32).tobytes() for number in range(3)]
    changes = [
        Record(content[0], b"r", [("label", b"a")]),
        Record(content[1], b"s", [("label", b"a")]),
        Record(content[2], b"r", [("label", b"b")]),
        Record(None, b"s"),
        Record(content[1], None, [("label", b"a")]),
    ]
    produce(kafka, pipeline.samples_topic, changes)

    rows, report = learnt(kafka, pipeline)

    assert (rows, report.refused, report.superseded, report.deletions) == ({2: "b"}, {"no-key": 1}, 2, 1)


@pytest.mark.parametrize("flag", [True, 1, "yes"])
def test_a_deletion_may_be_a_flag_of_the_row_itself(kafka, table, flag):
    """As ksqlDB and Debezium's ExtractNewRecordState have them."""
    envelope = {
        "kind": "json",
        "content": "x",
        "content_is": "base64",
        "id": "id",
        "newest_of": "id",
        "deleted": {"field": "__deleted", "value": flag},
    }
    pipeline = table(envelope, labels={"kind": "field", "name": "label"})
    flat = [row(1, "a"), row(2, "b"), {**row(2, "b"), "__deleted": flag}, {**row(1, "c"), "__deleted": None}]
    produce(kafka, pipeline.samples_topic, [Record(json.dumps(item).encode(), None) for item in flat])

    assert learnt(kafka, pipeline)[0] == {1: "c"}


def test_a_deletion_is_shown_as_one(kafka, table):
    pipeline = table(BY_KEY)
    produce(kafka, pipeline.samples_topic, [tombstone(1), delete(2)])
    layout = pipeline.record_layout(pipeline.samples_topic)

    with record_reader(kafka, layout, "tensor.raw/1") as reader:
        shown = [
            decode_record(message, pipeline, reader, labelled=True)
            for message in committed_records(kafka, pipeline.samples_topic)
        ]

    assert [(record.deleted, record.refusals) for record in shown] == [(True, ()), (True, ())]


@pytest.mark.parametrize(
    ("envelope", "expected"),
    [
        ('kind = "json"\ncontent = "x"\nnewest_of = "id"', ["envelope.newest_of = 'id'", "set id"]),
        (
            'kind = "json"\ncontent = "x"\ndeleted = {field = "op", value = "d"}',
            ["envelope.deleted", "set newest_of"],
        ),
        ('kind = "bare"\nnewest_of = "id"', ["envelope.newest_of = 'id'", "'key'"]),
        ('kind = "bare"\nnewest_of = "key"', ["training.incremental = True", "envelope.newest_of"]),
    ],
)
def test_invalid_settings_are_refused(tmp_path, envelope, expected):
    text = ARTICLE.replace('kind = "bare"', envelope).replace('[labels]\nkind = "topic"\ntopic = "image_labels"\n', "")
    more = 'start_from = "champion"\nincremental = true\nlabels = ["dark"' if "incremental" in expected[0] else None
    (tmp_path / "theirs.toml").write_text(text.replace('labels = ["dark"', more) if more else text)

    found = read_pipeline(tmp_path / "theirs.toml")

    assert isinstance(found, InvalidPipeline)
    assert all(part in str(found) for part in expected), str(found)
