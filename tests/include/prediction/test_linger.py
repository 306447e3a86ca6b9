"""A run that lingers goes on with what arrives: each request once, soon, and by the champion of that moment."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import replace
from statistics import median

import pytest

from include.errors import Stopped
from include.exactly_once import attempt
from include.kafka.errors import Fenced
from include.kafka.ranges import freeze_ranges
from include.prediction import publish as publishing
from include.prediction.limits import TooManyRejected
from tests.support.consumers import committed_records
from tests.support.producers import produce
from tests.support.publishing import (
    ask,
    bad_request,
    dead_letters,
    group_offset,
    position_of,
    predicted_ids,
    predictions,
    publish,
    request,
)
from tests.support.tiny_pipelines import IDENTITY, sample_id


class Arrivals:
    """Does something whenever the attempt asks whether it has to stop: before a chunk, before a commit, lingering.

    Args:
        actions: one for each time; one that returns True stops the attempt.
    """

    def __init__(self, *actions):
        self.left = list(actions)

    def __call__(self) -> bool:
        return bool(self.left) and self.left.pop(0)() is True


@pytest.fixture
def pipeline(new_pipeline):
    return new_pipeline(topics={"partitions": 2})


def test_requests_are_answered_soon_and_once_while_a_run_lingers(kafka, pipeline, predictor, record_property):
    """Ten requests a second; each is dated when it is sent, and each answer too."""
    ranges = freeze_ranges(kafka, pipeline.requests_topic)

    def send() -> None:
        for number in range(40):
            now = int(time.time() * 1000)
            produce(kafka, pipeline.requests_topic, [request(number, timestamp_ms=now)], partition=number % 2)
            time.sleep(0.1)

    sending = threading.Thread(target=send)
    sending.start()
    published = publish(kafka, pipeline, ranges, predictor, linger_s=3)
    sending.join()

    assert predicted_ids(kafka, pipeline) == [sample_id(number) for number in range(40)]
    assert published.predictions == 40
    assert list(published.ranges.values()) == freeze_ranges(kafka, pipeline.requests_topic)
    asked = {record.key(): record.timestamp()[1] for record in committed_records(kafka, pipeline.requests_topic)}
    waited = [r.timestamp()[1] - asked[r.key()] for r in committed_records(kafka, pipeline.predictions_topic)]
    record_property("median from arrival to answer while a run lingers", f"{median(waited) / 1000:.2f} s")


def test_the_position_is_that_of_the_last_chunk_and_the_next_run_goes_on_there(kafka, pipeline, predictor):
    ranges = ask(kafka, pipeline, request(0))
    arrivals = Arrivals(lambda: None, lambda: None, lambda: ask(kafka, pipeline, request(1), request(2), partition=1))

    published = publish(kafka, pipeline, ranges, predictor, linger_s=1, stopped=arrivals)

    now = freeze_ranges(kafka, pipeline.requests_topic)
    assert (published.samples, [item.end for item in published.ranges.values()]) == (3, [1, 2])
    assert [position_of(kafka, pipeline, item) for item in now] == [1, 2]
    assert group_offset(kafka, pipeline, 1) == 2
    assert publish(kafka, pipeline, now, predictor, run="run-2").samples == 0


def test_a_newly_promoted_champion_predicts_from_the_next_chunk_on(kafka, new_pipeline, predictor, monkeypatch):
    monkeypatch.setattr(publishing, "CHAMPION_VALID_S", 0)
    pipeline = new_pipeline(prediction={"chunk_samples": 10})
    promoted = replace(predictor, identity=replace(IDENTITY, version=8))
    ranges = ask(kafka, pipeline, *map(request, range(30)))
    held = []

    def newest(last):
        held.append(last.identity.version)
        return promoted if len(held) > 1 else last

    published = publish(kafka, pipeline, ranges, predictor, newest=newest)

    assert held == [7, 7, 8]
    assert published.versions == {7: 10, 8: 20}
    answered = predictions(kafka, pipeline)
    assert [prediction["version"] for prediction in answered] == [7] * 10 + [8] * 20
    headers = Counter(record.headers()[0][1] for record in committed_records(kafka, pipeline.predictions_topic))
    assert headers == {b"tiny/7": 10, b"tiny/8": 20}


def test_a_lingering_attempt_that_is_overtaken_publishes_nothing_more(kafka, pipeline, predictor):
    ranges = ask(kafka, pipeline, request(0))

    def overtake() -> None:
        now = ask(kafka, pipeline, request(1))
        publish(kafka, pipeline, now, predictor, run="run-2")

    arrivals = Arrivals(*[lambda: None] * 2, overtake, lambda: ask(kafka, pipeline, request(2)))
    with pytest.raises(Fenced):
        publish(kafka, pipeline, ranges, predictor, linger_s=60, stopped=arrivals)

    assert predicted_ids(kafka, pipeline) == [sample_id(0), sample_id(1)]


def test_a_lingering_attempt_stops_when_it_is_asked_to(kafka, pipeline, predictor):
    ranges = ask(kafka, pipeline, request(0))

    with pytest.raises(Stopped, match="1 samples, while it waited for more"):
        publish(kafka, pipeline, ranges, predictor, linger_s=600, stopped=Arrivals(*[lambda: False] * 2, lambda: True))

    assert position_of(kafka, pipeline, ranges[0]) == 1


def test_rejections_in_a_row_are_counted_on_while_lingering(kafka, new_pipeline, predictor):
    pipeline = new_pipeline(prediction={"max_rejected_in_a_row": 2})
    ranges = ask(kafka, pipeline, bad_request(0), bad_request(1))
    arrivals = Arrivals(lambda: None, lambda: None, lambda: ask(kafka, pipeline, bad_request(2)))

    with pytest.raises(TooManyRejected, match="3 records in a row"):
        publish(kafka, pipeline, ranges, predictor, linger_s=30, stopped=arrivals)

    assert len(dead_letters(kafka, pipeline)) == 2


def test_an_attempt_with_more_partitions_than_it_keeps_writers_for_ends_at_once(
    kafka, pipeline, predictor, monkeypatch, caplog
):
    monkeypatch.setattr(attempt, "WRITERS_AT_ONCE", 1)
    monkeypatch.setattr(publishing, "WRITERS_AT_ONCE", 1)
    ranges = ask(kafka, pipeline, request(0))

    publish(kafka, pipeline, ranges, predictor, linger_s=600)

    assert "it has 2 partitions" in caplog.text
    assert predicted_ids(kafka, pipeline) == [sample_id(0)]


def test_an_attempt_under_steady_traffic_ends_after_its_longest_time(kafka, pipeline, predictor, monkeypatch):
    monkeypatch.setattr(publishing, "MAX_LINGER_TOTAL_S", 2)
    ranges = ask(kafka, pipeline, request(0))
    sent = iter(range(1, 1000))

    published = publish(
        kafka,
        pipeline,
        ranges,
        predictor,
        linger_s=600,
        stopped=lambda: ask(kafka, pipeline, request(next(sent))) and False,
    )

    assert 1 <= published.predictions < 1000
