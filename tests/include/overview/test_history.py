"""A pipeline's last day, from the offsets of a real broker."""

from __future__ import annotations

import json
import time

import pytest

from include.kafka.ranges import freeze_ranges
from include.overview.history import EXACT, HOURS, DayReader, PredictRun, starts_at
from tests.support.producers import Record, produce
from tests.support.publishing import ask, request
from tests.support.tiny_pipelines import tiny_pipeline

HOUR_MS = 3_600_000
# Hours are compared, so the tests are at three quarters of one.
NOW = time.time() // 3600 * 3600 + 2700
NOW_MS = int(NOW * 1000)


def prediction(pipeline, label, asked_ms, answered_ms):
    fields = {"id": "x", "label": label, "score": 0.5, "model": "m", "version": 1, "digest": "d", "manifest": "m"}
    place = {"topic": pipeline.requests_topic, "partition": 0, "offset": 0, "timestamp": asked_ms}
    return Record(json.dumps({**fields, **place}).encode(), b"x", timestamp_ms=answered_ms)


def ago_ms(hours):
    return NOW_MS - int(hours * HOUR_MS)


def test_what_was_written_is_known_by_the_hour(kafka, new_pipeline):
    pipeline = new_pipeline()
    ask(kafka, pipeline, *(request(n, timestamp_ms=ago_ms(age)) for n, age in enumerate((2.5, 2.5, 2.5, 0.5))))
    answers = [(2.2, "a"), (0.4, "b"), (0.4, "b")]
    produce(
        kafka,
        pipeline.predictions_topic,
        [prediction(pipeline, label, asked_ms=ago_ms(age + 1), answered_ms=ago_ms(age)) for age, label in answers],
    )

    day = DayReader().read(kafka, pipeline, NOW)

    assert day.written["requests"] == (0,) * (HOURS - 3) + (3, 0, 1)
    assert day.written["predictions"] == (0,) * (HOURS - 3) + (1, 0, 2)
    assert (day.predicted, day.counted, day.invalid) == ((("b", 2), ("a", 1)), 3, 0)
    assert day.latency is not None
    assert day.latency.median_s == pytest.approx(3600, abs=1)
    assert [None if it is None else round(it.median_s) for it in day.latencies[-3:]] == [3600, None, 3600]
    assert set(day.waited) == {None}


def test_records_of_more_than_a_day_ago_and_of_the_future_are_no_fault(kafka, new_pipeline):
    pipeline = new_pipeline()
    ask(
        kafka, pipeline, request(0, timestamp_ms=ago_ms(30)), request(1, timestamp_ms=int(time.time() * 1000) + 600_000)
    )
    produce(
        kafka,
        pipeline.predictions_topic,
        [Record(b"no prediction"), prediction(pipeline, "a", asked_ms=None, answered_ms=0)],
    )

    day = DayReader().read(kafka, pipeline, NOW)

    assert sum(day.written["requests"]) == 1
    assert (day.predicted, day.counted, day.invalid, day.latency) == ((("a", 1),), 1, 1, None)
    assert set(day.latencies) == {None}


def test_what_waited_is_counted_in_records_from_where_the_runs_began(kafka, new_pipeline):
    pipeline = new_pipeline()
    # Each transaction ends with a marker, which is no record.
    for number, age in enumerate((3.5, 2.5, 2.4, 0.5)):
        ranges = ask(kafka, pipeline, request(number, timestamp_ms=ago_ms(age)))
    (whole,) = ranges
    before = freeze_ranges(kafka, pipeline.requests_topic)[0]
    starts = {(whole.topic_id, 0): whole.start}
    after_two = {(whole.topic_id, 0): whole.start + 2}
    runs = [PredictRun(ago_ms(2.45), ago_ms(1.2), starts), PredictRun(ago_ms(0.6), None, after_two)]

    day = DayReader().read(kafka, pipeline, NOW, runs, [before])

    # At the beginnings of the last four hours, which were 3.75, 2.75, 1.75 and 0.75 hours ago, and now.
    assert day.waited[-5:] == (0, 1, 3, 1, whole.offsets)
    assert whole.offsets <= EXACT


def test_a_run_that_lingers_counts_as_having_answered_what_came_meanwhile():
    first, second = ({("id", 0): start} for start in (0, 50))
    runs = [PredictRun(1000, 9000, first), PredictRun(10_000, None, second)]

    assert [starts_at(at, runs, lingers=False) for at in (500, 1500, 9500, 10_500)] == [first, first, second, second]
    assert [starts_at(at, runs, lingers=True) for at in (500, 1500, 9500, 10_500)] == [first, second, second, None]


def test_a_pipeline_without_topics_had_nothing(kafka, new_name):
    day = DayReader().read(kafka, tiny_pipeline(new_name()), NOW)

    assert (set(day.written), sum(map(sum, day.written.values())), day.counted) == (
        {"samples", "requests", "predictions", "dead_letters"},
        0,
        0,
    )
