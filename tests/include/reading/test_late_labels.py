"""Late labels, from a topic of their own: the newest label of a frozen range counts, now and in every repetition."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import TypeAdapter

from include.codecs.raw import RawCodec
from include.feed.feed import Feed
from include.feed.manifest import Manifest
from include.kafka.ranges import freeze_ranges
from include.training.job import TrainingJob
from tests.support.external_topics import external_pipeline
from tests.support.producers import NOW_MS, Record, produce
from tests.support.tiny_pipelines import LETTERS

CODEC = RawCodec(shape=(4,), dtype="float32")


def sample(number, key=None):
    return Record(value=np.full(4, number, np.float32).tobytes(), key=key)


def label(sample_id, text, **more):
    return Record(value=None if text is None else text.encode(), key=sample_id.encode(), **more)


@pytest.fixture
def theirs(new_topic, new_name):
    """A pipeline over two external topics, both empty."""
    samples, labels = new_topic(), new_topic(partitions=2)
    return external_pipeline(
        new_name(),
        topics={"samples": samples, "requests": samples},
        labels={"kind": "topic", "topic": labels},
        training={"labels": list(LETTERS), "schedule": "0 * * * *", "held_out": 1e-9},
    )


@pytest.fixture
def freeze(kafka, theirs):
    """The manifest of all records in both topics."""

    def freeze():
        ranges = [*freeze_ranges(kafka, theirs.samples_topic), *freeze_ranges(kafka, theirs.labels_topic)]
        return TrainingJob.of(theirs, ranges).manifest

    return freeze


def served(kafka, manifest):
    """Label by sample, and the report."""
    feed = Feed(kafka, manifest, CODEC, batch_size=10)
    found = {}
    for inputs, labels in feed:
        found.update(zip(inputs[:, 0].int().tolist(), [LETTERS[label] for label in labels.tolist()], strict=True))
    return found, feed.report


def test_a_sample_without_a_key_is_labelled_by_its_address(kafka, theirs, freeze):
    produce(kafka, theirs.samples_topic, [sample(number) for number in range(3)])
    produce(kafka, theirs.labels_topic, [label(f"{theirs.samples_topic}/0/1", "b")])

    found, report = served(kafka, freeze())

    assert found == {1: "b"}
    assert (report.unlabelled, report.refused) == (2, {})


def test_the_newest_label_counts_and_can_be_withdrawn(kafka, theirs, freeze):
    produce(kafka, theirs.samples_topic, [sample(number, f"s{number}".encode()) for number in range(3)])
    labels = [label("s0", "a"), label("s1", "a"), label("s2", "a"), label("s1", "c"), label("s2", None)]
    produce(kafka, theirs.labels_topic, labels)

    found, report = served(kafka, freeze())

    assert found == {0: "a", 1: "c"}
    assert report.unlabelled == 1


def test_of_labels_in_two_partitions_the_later_one_counts(kafka, theirs, freeze):
    produce(kafka, theirs.samples_topic, [sample(number, f"s{number}".encode()) for number in range(2)])
    for partition, texts in enumerate(("ab", "ba")):
        times = (NOW_MS + partition, NOW_MS + 1 - partition)
        labels = [label(f"s{n}", texts[n], timestamp_ms=times[n]) for n in range(2)]
        produce(kafka, theirs.labels_topic, labels, partition=partition)

    assert served(kafka, freeze())[0] == {0: "b", 1: "b"}


def test_labels_after_the_freeze_do_not_change_it(kafka, theirs, freeze):
    produce(kafka, theirs.samples_topic, [sample(number, f"s{number}".encode()) for number in range(2)])
    produce(kafka, theirs.labels_topic, [label("s0", "a")])
    manifest = freeze()
    produce(kafka, theirs.labels_topic, [label("s0", "b"), label("s1", "c")])

    assert served(kafka, TypeAdapter(Manifest).validate_python(manifest.to_dict()))[0] == {0: "a"}
    assert served(kafka, freeze())[0] == {0: "b", 1: "c"}
    assert freeze().digest != manifest.digest


def test_an_invalid_label_is_skipped_and_logged(kafka, theirs, freeze, caplog):
    produce(kafka, theirs.samples_topic, [sample(0, b"s0"), sample(1, b"s1")])
    good, bad = label("s0", "a"), [Record(b"a", None), Record(b"\xff", b"s1"), Record(b"a" * 1025, b"s1")]
    produce(kafka, theirs.labels_topic, [*bad, good])

    found, report = served(kafka, freeze())

    assert (found, report.unlabelled) == ({0: "a"}, 1)
    assert f"3 records of {theirs.labels_topic} are no labels" in caplog.text
    assert f"{theirs.labels_topic}/0/2: field-too-long" in caplog.text


def test_a_label_that_the_pipeline_does_not_have_is_a_refusal(kafka, theirs, freeze):
    produce(kafka, theirs.samples_topic, [sample(0, b"s0")])
    produce(kafka, theirs.labels_topic, [label("s0", "z")])

    assert served(kafka, freeze())[1].refused == {"unknown-label": 1}


def test_a_label_may_be_a_json_field_and_a_record_without_it_withdraws_none(kafka, theirs, caplog):
    late = {"kind": "topic", "topic": theirs.labels_topic, "field": "answer.class"}
    pipeline = theirs.model_copy(update={"labels": type(theirs.labels).model_validate(late)})
    produce(kafka, pipeline.samples_topic, [sample(0, b"s0")])
    values = [b'{"answer": {"class": "c"}, "by": "me"}', b'{"comment": "blurred"}']
    produce(kafka, pipeline.labels_topic, [Record(value, b"s0") for value in values])
    ranges = [*freeze_ranges(kafka, pipeline.samples_topic), *freeze_ranges(kafka, pipeline.labels_topic)]

    assert served(kafka, TrainingJob.of(pipeline, ranges).manifest)[0] == {0: "c"}
    assert f"{theirs.labels_topic}/0/1: missing-field" in caplog.text
