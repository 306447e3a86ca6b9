"""Records that are read as columns make the batches, positions and reports that messages make, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest

from include.codecs.raw import RawCodec
from include.feed.feed import Feed, FeedReport
from include.feed.manifest import Manifest
from include.feed.split import Split
from include.kafka import columns
from include.kafka.ranges import freeze_ranges
from tests.support.producers import Record, abort, commit, produce
from tests.support.unreadable_headers import produce_unreadable_header

INTEGERS, FLOATS = RawCodec(shape=(2,), dtype="int32"), RawCodec(shape=(2,), dtype="float32")
BATCH, WINDOW = 50, 400
OWN = [("schema", b"tensor.raw/1"), ("label", b"a")]
ODD_HEADERS = [
    [],
    [("schema", b"tensor.raw/1")],
    [("label", b"a")],
    [("schema", None), ("label", b"a")],
    [("schema", b"image.png/1"), ("label", b"a")],
    [("schema", b"tensor.raw/1"), ("label", b"unknown")],
    [("schema", b"tensor.raw/1"), ("label", b"\xff\xfe")],
    [("schema", b"tensor.raw/1"), ("label", b"")],
    [("schema", b"tensor.raw/1"), ("label", None)],
    [("schema", b"tensor.raw/1"), ("label", b"a" * 1025)],
    [*OWN, ("label", b"a")],
    [*OWN, ("label", b"b")],
    [*OWN, ("trace", bytes(5000))],
    [*OWN, ("größe", b"\0\0"), ("", b"")],
    [*OWN, ("group", b"voice-1")],
    [*OWN, ("group", b"")],
    [*OWN, ("group", None)],
    [*OWN, ("split", b"test")],
    [*OWN, ("split", b"train")],
    [*OWN, ("split", b"nowhere")],
]


def records() -> list[Record]:
    """The usual ones with each kind of another between them."""
    made = [
        Record(
            INTEGERS.encode(np.array([number, -number], np.int32)),
            b"%d" % number,
            [("schema", b"tensor.raw/1"), ("label", b"ab"[number % 2 :][:1])],
        )
        for number in range(1500)
    ]
    usual = made[0]
    odd = [replace(usual, headers=headers) for headers in ODD_HEADERS]
    odd += [replace(usual, value=value) for value in (None, b"", b"1", bytes(9), bytes(5000))]
    odd += [replace(usual, key=key) for key in (None, b"", b"\xff\0")]
    odd += [replace(usual, value=np.array([np.nan, value], np.float32).tobytes()) for value in (0, np.inf)]
    for number, record in enumerate(odd * 4):
        # Of either side of the split.
        key = b"odd-%d" % number if record.key == usual.key else record.key
        made.insert(number * 11, replace(record, key=key))
    # More distinct sets of headers than one batch of columns usually has.
    return made + [
        replace(usual, headers=[*OWN, ("trace", b"%d" % number)], key=b"%d" % number) for number in range(600)
    ]


@pytest.fixture(scope="module")
def manifest(kafka, new_topic):
    topic = new_topic(partitions=3)
    everything = records()
    for part in range(0, len(everything), 500):
        commit(kafka, topic, everything[part : part + 500])
        abort(kafka, topic, everything[:30])
    produce_unreadable_header(kafka, topic, bytes(8))
    produce(kafka, topic, everything, partition=1)
    abort(kafka, topic, everything[:30], partition=2)
    ranges = tuple(freeze_ranges(kafka, topic))
    return Manifest(topic, ranges, INTEGERS.schema_name, ("a", "b"), Split("salt", 0.3), seed=1)


def feed_of(kafka, manifest, codec=INTEGERS, **settings) -> Feed:
    return Feed(kafka, manifest, codec, **{"batch_size": BATCH, "window": WINDOW, **settings})


def epoch_of(feed: Feed) -> tuple[list[tuple[bytes, bytes, str]], FeedReport]:
    """The batches that are left, each with the position after it, and the report."""
    batches = [(inputs.numpy().tobytes(), labels.numpy().tobytes(), str(feed.state_dict())) for inputs, labels in feed]
    # In which order a broker's answers show refused and undecodable records is chance.
    return batches, replace(feed.report, examples=sorted(feed.report.examples))


@pytest.fixture
def by_messages(monkeypatch):
    """A call's result where there are no columns."""
    monkeypatch.setattr("include.feed.feed.EXAMPLES_KEPT", 10_000)

    def call(function, *arguments, **settings):
        with patch.object(columns, "_library", return_value=None):
            return function(*arguments, **settings)

    return call


@pytest.fixture
def no_messages(monkeypatch):
    """From its call on, reading messages is an error."""

    def refuse() -> None:
        def read(*_: object, **__: object) -> None:
            raise AssertionError("messages are read")

        monkeypatch.setattr("include.kafka.reader.read_ranges", read)

    return refuse


@pytest.mark.parametrize("codec", [INTEGERS, FLOATS], ids=["integers", "floats"])
@pytest.mark.parametrize("side", ["train", "held_out"])
@pytest.mark.parametrize("given", [False, True], ids=["split by hash", "given split"])
def test_epochs_are_the_same(kafka, manifest, by_messages, no_messages, codec, side, given):
    manifest = replace(manifest, split=replace(manifest.split, given=given))
    feed = feed_of(kafka, manifest, codec, side=side)
    expected = [by_messages(epoch_of, feed) for _ in range(2)]

    no_messages()
    feed = feed_of(kafka, manifest, codec, side=side)

    assert [epoch_of(feed) for _ in range(2)] == expected
    assert expected[0][0] or (given and side == "train")
    assert expected[0][1].examples or given


def test_a_feed_goes_on_where_one_over_messages_stopped(kafka, manifest, by_messages, no_messages):
    batches, _ = by_messages(epoch_of, feed_of(kafka, manifest))
    states = by_messages(lambda feed: [feed.state_dict() for _ in feed], feed_of(kafka, manifest))

    no_messages()
    for stopped in (0, WINDOW // BATCH - 1, WINDOW // BATCH, len(batches) - 2):
        feed = feed_of(kafka, manifest)
        feed.load_state_dict(states[stopped])
        assert epoch_of(feed)[0] == batches[stopped + 1 :]


@pytest.mark.parametrize("most", [16, 17, 2048])
def test_batches_do_not_depend_on_how_many_records_are_read_at_a_time(kafka, manifest, by_messages, monkeypatch, most):
    expected = by_messages(epoch_of, feed_of(kafka, manifest))
    monkeypatch.setattr(columns, "FIRST_RECORDS", most)
    monkeypatch.setattr(columns, "BATCH_BYTES", 1 if most < 100 else columns.BATCH_BYTES)
    monkeypatch.setattr(columns, "FEWEST_RECORDS", most)

    assert epoch_of(feed_of(kafka, manifest)) == expected
