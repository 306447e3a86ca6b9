"""Requests that are read as columns get the answers, dead letters and positions that messages get, byte for byte."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import pytest

from include.exactly_once.snapshot import snapshot_progress
from include.kafka import columns
from include.kafka.ranges import freeze_ranges
from include.prediction.publish import STEP
from tests.support.consumers import committed_records, log_ends
from tests.support.producers import NOW_MS, Record, abort, commit, produce
from tests.support.publishing import group_offset, publish, request
from tests.support.tiny_pipelines import SCHEMA, numbers
from tests.support.unreadable_headers import produce_unreadable_header

OWN = [("schema", SCHEMA)]
ODD = [
    *({"headers": headers} for headers in ([], [("schema", None)], [("schema", b"image.png/1")], [*OWN, *OWN])),
    {"headers": [*OWN, ("schema", b"x")]},
    {"headers": [*OWN, ("label", b"\xff")]},
    {"headers": [*OWN, ("label", bytes(1025))]},
    {"headers": [*OWN, ("traceparent", b"00-1"), ("traceparent", None), ("größe", b"\0"), ("", b"")]},
    {"headers": [*OWN, ("dead-letter-reason", b"forged")], "value": b"1"},
    {"headers": [*OWN, ("trace", bytes(300_000))]},
    *({"value": value} for value in (None, b"", b"1", bytes(17), bytes(5000))),
    {"value": (numbers(1) * float("nan")).tobytes()},
    *({"key": key} for key in (None, b"", b"\xff\0", b'"]\n["', bytes(300_000))),
    *({"timestamp_ms": time} for time in (1, -(10**12), NOW_MS)),
]
SETTINGS = {
    "usual": {},
    "few in a chunk": {"chunk_samples": 7},
    "chunks by bytes": {"chunk_bytes": 4096},
    "carried headers": {"carry": ["traceparent", "größe"]},
    "events": {"cloud_events": True, "carry": ["traceparent"]},
    "the best": {"top_k": 2},
}


def requests() -> list[Record]:
    """The usual ones with each kind of another between them, and more distinct headers than a batch has."""
    made = [request(number) for number in range(300)]
    for number, changed in enumerate(ODD):
        made.insert(number * 9, request(1000 + number, **changed))
    return made + [request(2000 + number, headers=[*OWN, ("trace", b"%d" % number)]) for number in range(200)]


@pytest.fixture(scope="module")
def topic(kafka, new_topic):
    name = new_topic(partitions=3)
    commit(kafka, name, requests()[:400])
    abort(kafka, name, [request(1)] * 3)
    produce_unreadable_header(kafka, name, numbers(5).tobytes())
    produce(kafka, name, requests(), partition=2)
    commit(kafka, name, requests()[:40], partition=2)
    return name


def published(kafka, pipeline, predictor, topic) -> list[object]:
    """All that a prediction leaves, without the names of the pipeline."""
    ranges = freeze_ranges(kafka, topic)
    report = publish(kafka, pipeline, ranges, predictor)
    entries = snapshot_progress(kafka, pipeline.name, STEP, ranges)
    # A dead letter without a key goes to any partition.
    written = [
        sorted(
            (record.key() or b"", record.value() or b"", str(shown(record, pipeline)))
            for record in committed_records(kafka, each)
        )
        for each in (pipeline.predictions_topic, pipeline.dead_letters_topic)
    ]
    ends = log_ends(kafka, pipeline.predictions_topic, [0, 1, 2])
    assert all(written)
    return [written, ends, entries, [group_offset(kafka, pipeline, item.partition) for item in ranges], str(report)]


def shown(record, pipeline) -> list[tuple[str, bytes]]:
    name = pipeline.name.encode()
    return [(header, (content or b"None").replace(name, b"NAME")) for header, content in record.headers() or ()]


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_what_is_published_is_the_same(kafka, new_pipeline, predictor, topic, monkeypatch, settings):
    by_columns, by_messages = (
        new_pipeline(
            topics={"requests": topic},
            prediction={"max_rejected_share": 1.0, "max_rejected_in_a_row": 1000, **settings},
        )
        for _ in range(2)
    )
    with patch.object(columns, "_library", return_value=None):
        expected = published(kafka, by_messages, predictor, topic)

    monkeypatch.setattr("include.prediction.requests.MessageRequests.read", None)
    found = published(kafka, by_columns, predictor, topic)

    assert found == expected


def test_an_attempt_by_columns_goes_on_where_one_by_messages_stopped(kafka, new_pipeline, predictor, topic):
    pipelines = [new_pipeline(topics={"requests": topic}, prediction={"max_rejected_share": 1.0}) for _ in range(2)]
    whole = freeze_ranges(kafka, topic)
    halves = [replace(item, end=(item.start + item.end) // 2) for item in whole]
    for pipeline, first in zip(pipelines, (None, columns._library()), strict=True):
        with patch.object(columns, "_library", return_value=first):
            publish(kafka, pipeline, halves, predictor)

    found, expected = (published(kafka, pipeline, predictor, topic) for pipeline in pipelines)
    assert found == expected
