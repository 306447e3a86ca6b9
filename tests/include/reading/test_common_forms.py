"""Forms that records of other programs have: labels as keys or in quotes, base64 in dialects, lists of numbers."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from include.codecs.base64_tensor import Base64Codec
from include.codecs.text_tensor import TextTensorCodec
from include.definition.files import InvalidPipeline, read_pipeline
from include.envelopes.json_object import JsonEnvelope
from include.feed.feed import Feed
from include.kafka.ranges import freeze_ranges
from include.kafka.topics import ensure_topics
from include.reading.layout import RecordLayout
from include.refusal import InvalidRecord, Refusal
from include.training.job import TrainingJob
from tests.support.external_topics import ARTICLE, external_pipeline
from tests.support.producers import Record, produce
from tests.support.publishing import predictions, publish
from tests.support.tiny_pipelines import LETTERS, letter, numbers, tiny_predictor

NUMBERS = {"kind": "tensor.text", "shape": [4], "dtype": "float32"}


@pytest.fixture
def pipeline_of(kafka, new_topic, new_name):
    def make(**tables):
        topic = new_topic()
        training = {"labels": list(LETTERS), "schedule": "0 * * * *", "held_out": 1e-9}
        topics = {"samples": topic, "requests": topic}
        pipeline = external_pipeline(new_name(), **{"topics": topics, "training": training, **tables})
        ensure_topics(kafka, pipeline.topic_specs())
        return pipeline

    return make


def served(kafka, pipeline):
    manifest = TrainingJob.of(pipeline, freeze_ranges(kafka, pipeline.samples_topic)).manifest
    feed = Feed(kafka, manifest, pipeline.format, batch_size=10, shuffle=False)
    found = [
        (inputs.tolist(), LETTERS[label])
        for batch, labels in feed
        for inputs, label in zip(batch, labels.tolist(), strict=True)
    ]
    return found, feed.report


def test_numbers_of_json_lists_are_learnt_and_answered(kafka, pipeline_of):
    envelope = {"kind": "json", "content": "features", "content_is": "numbers", "id": "n"}
    pipeline = pipeline_of(format=NUMBERS, envelope=envelope, labels={"kind": "field", "name": "label"})
    values = [{"n": n, "features": numbers(n).tolist(), "label": letter(numbers(n))} for n in range(8)]
    values.append({"n": 8, "features": ",".join(map(str, numbers(8).tolist())), "label": letter(numbers(8))})
    produce(kafka, pipeline.samples_topic, [Record(json.dumps(value).encode(), None) for value in values])

    found, report = served(kafka, pipeline)
    published = publish(kafka, pipeline, freeze_ranges(kafka, pipeline.requests_topic), tiny_predictor())

    assert found == [(numbers(n).tolist(), letter(numbers(n))) for n in range(9)]
    assert (report.refused, published.predictions) == ({}, 9)
    assert {answer["id"]: answer["label"] for answer in predictions(kafka, pipeline)} == {
        str(n): letter(numbers(n)) for n in range(9)
    }


def test_the_key_is_the_label_and_no_id(kafka, pipeline_of):
    """Four records of each class: they are samples of their own, on either side of the split."""
    pipeline = pipeline_of(format=NUMBERS, labels={"kind": "key"})
    lines = [Record(b"%d,0.5,1,2" % n, b"ab"[n % 2 : n % 2 + 1]) for n in range(8)]
    bad = [Record(b"1,2,3,4", None), Record(b"1,2,3,4", b"\xff"), Record(b"1,2,3,4", b"x" * 2000)]
    produce(kafka, pipeline.samples_topic, lines + bad)

    found, report = served(kafka, pipeline)
    publish(kafka, pipeline, freeze_ranges(kafka, pipeline.requests_topic), tiny_predictor())

    assert [label for _, label in found] == list("abababab")
    assert report.refused == {"no-label": 1, "invalid-utf8": 1, "field-too-long": 1}
    ids = {answer["id"] for answer in predictions(kafka, pipeline)}
    assert ids == {f"{pipeline.requests_topic}/0/{n}" for n in range(11)}


@pytest.mark.parametrize("kind", ["header", "key"])
def test_quotes_around_a_label_are_taken_off_where_the_pipeline_says_so(kafka, pipeline_of, kind):
    labels = [b'"a"', b"b", b'"\\u0063"', b'"a', b'"a" "b"']
    quoted = pipeline_of(format=NUMBERS, labels={"kind": kind, "quoted": True})
    plain = pipeline_of(format=NUMBERS, labels={"kind": kind})
    for pipeline in (quoted, plain):
        records = [
            Record(b"1,2,3,4", label if kind == "key" else None, [("label", label)] if kind == "header" else [])
            for label in labels
        ]
        produce(kafka, pipeline.samples_topic, records)

    found, report = served(kafka, quoted)

    assert [label for _, label in found] == ["a", "b", "c"]
    assert report.refused == {"invalid-json": 2}
    assert served(kafka, plain)[1].refused == {"unknown-label": 4}


def test_a_layout_that_sets_none_of_these_keeps_its_json():
    layout = RecordLayout(envelope=JsonEnvelope(content="x"))

    tables = layout.model_dump(mode="json")

    assert set(tables["envelope"]) == {"kind", "content", "content_is", "id", "group"}
    assert set(tables["labels"]) == {"kind", "name"}
    assert "lenient" not in Base64Codec(shape=(4,)).model_dump()


def test_base64_is_strict_unless_the_pipeline_allows_its_dialects():
    content = bytes(range(251, 256)) * 20
    dialects = [
        "data:image/png;base64," + base64.b64encode(content).decode(),
        base64.encodebytes(content).decode(),
        base64.urlsafe_b64encode(content).decode(),
        base64.b64encode(content).decode().rstrip("="),
    ]
    strict = JsonEnvelope(content="x", content_is="base64").open_with(None, None)
    lenient = JsonEnvelope(content="x", content_is="base64", lenient=True).open_with(None, None)
    for text in dialects:
        value = json.dumps({"x": text}).encode()
        assert lenient(value).content == content
        with pytest.raises(InvalidRecord) as refused:
            strict(value)
        assert refused.value.refusal.reason == "invalid-base64"
    array = np.frombuffer(content, np.uint8)
    decoded = Base64Codec(shape=(100,), lenient=True).decode([*(text.encode() for text in dialects), b"AAAA", b"!"])
    assert (decoded.samples == array).all()
    assert decoded.positions.tolist() == [0, 1, 2, 3]
    assert [refusal.reason for refusal in decoded.refusals.values()] == ["wrong-size", "invalid-base64"]


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ([1, 2.5, -3e2, 0], [1.0, 2.5, -300.0, 0.0]),
        ([[1, 2], [3, 4]], "wrong-size"),
        ([1, 2, 3], "wrong-size"),
        ([1, 2, 3, None], "wrong-type"),
        ([1, 2, 3, True], "wrong-type"),
        ([1, 2, 3, "4"], "wrong-type"),
        ({"a": 1}, "wrong-type"),
        (7, "wrong-size"),
        ("1;2;3;4", [1.0, 2.0, 3.0, 4.0]),
        (None, "missing-field"),
    ],
)
def test_lists_of_numbers_are_read_or_refused(features, expected):
    opening = JsonEnvelope(content="x", content_is="numbers").open_with(None, None)
    codec = TextTensorCodec.model_validate(NUMBERS)

    def read():
        try:
            decoded = codec.decode([opening(json.dumps({"x": features}).encode()).content])
        except InvalidRecord as error:
            return error.refusal
        return next(iter(decoded.refusals.values()), None) or decoded.samples[0].tolist()

    found = read()

    assert (found.reason if isinstance(found, Refusal) else found) == expected


@pytest.mark.parametrize(
    ("replaced", "by", "expected"),
    [
        ('kind = "bare"', 'kind = "json"\ncontent = "x"\ncontent_is = "numbers"', ["format.kind", "'tensor.text'"]),
        ('kind = "bare"', 'kind = "json"\ncontent = "x"\nlenient = true', ["envelope.lenient", "content_is"]),
        (
            'kind = "bare"\n\n[labels]\nkind = "topic"\ntopic = "image_labels"',
            'kind = "bare"\nnewest_of = "key"\n\n[labels]\nkind = "key"',
            ["labels.kind = 'key'", "newest_of"],
        ),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(tmp_path, replaced, by, expected):
    (tmp_path / "theirs.toml").write_text(ARTICLE.replace(replaced, by))

    found = read_pipeline(tmp_path / "theirs.toml")

    assert isinstance(found, InvalidPipeline)
    assert all(part in str(found) for part in expected), str(found)
