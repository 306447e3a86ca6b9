"""A pipeline's last day, from the offsets of a real broker."""

from __future__ import annotations

import json
import time

import pytest

from include.overview.history import HOURS, last_day
from tests.support.producers import Record, produce
from tests.support.publishing import ask, request
from tests.support.tiny_pipelines import tiny_pipeline

HOUR_MS = 3_600_000


def prediction(pipeline, label, asked_ms, answered_ms):
    fields = {"id": "x", "label": label, "score": 0.5, "model": "m", "version": 1, "digest": "d", "manifest": "m"}
    place = {"topic": pipeline.requests_topic, "partition": 0, "offset": 0, "timestamp": asked_ms}
    return Record(json.dumps({**fields, **place}).encode(), b"x", timestamp_ms=answered_ms)


def test_what_was_written_is_known_by_the_hour(kafka, new_pipeline):
    pipeline, now = new_pipeline(), time.time()
    now_ms = int(now * 1000)
    ages = (2.5, 2.5, 2.5, 0.5)
    ask(kafka, pipeline, *(request(n, timestamp_ms=now_ms - int(age * HOUR_MS)) for n, age in enumerate(ages)))
    answers = [(2.2, "a"), (0.4, "b"), (0.4, "b")]
    produce(
        kafka,
        pipeline.predictions_topic,
        [
            prediction(
                pipeline, label, asked_ms=now_ms - int((age + 1) * HOUR_MS), answered_ms=now_ms - int(age * HOUR_MS)
            )
            for age, label in answers
        ],
    )

    day = last_day(kafka, pipeline, now)

    assert day.written["requests"] == (0,) * (HOURS - 3) + (3, 0, 1)
    assert day.written["predictions"] == (0,) * (HOURS - 3) + (1, 0, 2)
    assert (day.predicted, day.counted) == ((("b", 2), ("a", 1)), 3)
    assert day.latency is not None
    assert day.latency.median_s == pytest.approx(3600, abs=1)


def test_records_of_more_than_a_day_ago_and_of_the_future_are_no_fault(kafka, new_pipeline):
    pipeline, now = new_pipeline(), time.time()
    now_ms = int(now * 1000)
    ask(kafka, pipeline, request(0, timestamp_ms=now_ms - 30 * HOUR_MS), request(1, timestamp_ms=now_ms + HOUR_MS // 2))
    produce(
        kafka,
        pipeline.predictions_topic,
        [Record(b"no prediction"), prediction(pipeline, "a", asked_ms=None, answered_ms=0)],
    )

    day = last_day(kafka, pipeline, now)

    assert sum(day.written["requests"]) == 1
    assert (day.predicted, day.latency) == ((("a", 1),), None)


def test_a_pipeline_without_topics_had_nothing(kafka, new_name):
    day = last_day(kafka, tiny_pipeline(new_name()), time.time())

    assert (set(day.written), sum(map(sum, day.written.values())), day.counted) == (
        {"samples", "requests", "predictions", "dead_letters"},
        0,
        0,
    )
