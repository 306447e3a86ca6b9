"""Requests of the past are predicted again: once by each version, with the same bytes, and beside the predictions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from include.errors import NothingToDo, Stopped
from include.exactly_once.attempt import Attempt
from include.kafka.errors import RangeUnavailable
from include.kafka.ranges import freeze_ranges, written_between
from include.prediction.repredict import STEP, RequestSelection, repredict
from include.prediction.version_answers import answers_by_version
from tests.support.administrator import delete_records
from tests.support.assertions import assert_readable
from tests.support.consumers import committed_records
from tests.support.producers import NOW_MS
from tests.support.publishing import ask, bad_request, position_of, publish, request
from tests.support.tiny_pipelines import sample_id, tiny_predictor


def at(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def predictor_of(pipeline, version: int = 7):
    plain = tiny_predictor(pipeline.name)
    return replace(plain, identity=replace(plain.identity, version=version))


def again(kafka, pipeline, *, version: int = 7, run: str = "run-1", accept_lost: bool = False, stopped=None, **asked):
    attempt = Attempt(kafka, pipeline.name, STEP, run, accept_lost=accept_lost, stopped=stopped or (lambda: False))
    return repredict(attempt, pipeline, RequestSelection(**asked), predictor_of(pipeline, version))


def values(kafka, topic: str) -> list[tuple[bytes, bytes]]:
    return [(record.key(), record.value()) for record in committed_records(kafka, topic)]


def ids(kafka, pipeline) -> list[str]:
    return sorted(key.decode() for key, _ in values(kafka, pipeline.repredictions_topic))


PERIOD = {"since": at(NOW_MS + 10), "until": at(NOW_MS + 20)}


@pytest.fixture
def pipeline(new_pipeline):
    return new_pipeline(prediction={"chunk_samples": 4})


def test_a_period_is_predicted_again_with_the_bytes_of_its_first_answers(kafka, pipeline):
    ranges = ask(kafka, pipeline, *map(request, range(10, 20)))
    publish(kafka, pipeline, ranges, predictor_of(pipeline))
    before = committed_records(kafka, pipeline.predictions_topic)

    assert again(kafka, pipeline, **PERIOD).predictions == 10

    found = values(kafka, pipeline.repredictions_topic)
    assert found == values(kafka, pipeline.predictions_topic)
    assert len(committed_records(kafka, pipeline.predictions_topic)) == len(before)
    assert position_of(kafka, pipeline, ranges[0]) == 10


def test_only_the_period_is_predicted_again(kafka, pipeline):
    ask(kafka, pipeline, *map(request, range(30)))

    again(kafka, pipeline, **PERIOD)

    assert ids(kafka, pipeline) == [sample_id(number) for number in range(10, 20)]


def test_the_same_period_is_predicted_once_by_each_version(kafka, pipeline):
    ask(kafka, pipeline, *map(request, range(30)))
    again(kafka, pipeline, **PERIOD)

    assert again(kafka, pipeline, run="run-2", **PERIOD).predictions == 0
    assert again(kafka, pipeline, run="run-3", version=8, **PERIOD).predictions == 10


def test_a_stopped_run_ends_with_the_bytes_of_one_that_was_not(kafka, pipeline):
    """Stopped before the commit of its second chunk of four requests."""
    publish(kafka, pipeline, ask(kafka, pipeline, *map(request, range(10, 20))), predictor_of(pipeline))
    polls = iter([False, False, False, True])
    with pytest.raises(Stopped):
        again(kafka, pipeline, stopped=lambda: next(polls), **PERIOD)
    assert len(ids(kafka, pipeline)) == 4

    again(kafka, pipeline, run="run-2", **PERIOD)

    assert values(kafka, pipeline.repredictions_topic) == values(kafka, pipeline.predictions_topic)


def test_what_a_version_has_answered_is_predicted_again_with_another(kafka, pipeline):
    publish(kafka, pipeline, ask(kafka, pipeline, *map(request, range(10))), predictor_of(pipeline, 6))
    publish(kafka, pipeline, ask(kafka, pipeline, *map(request, range(10, 16))), predictor_of(pipeline, 7))
    publish(kafka, pipeline, ask(kafka, pipeline, *map(request, range(16, 20))), predictor_of(pipeline, 6))
    answered = answers_by_version(kafka, pipeline, "a-group")
    assert {version: found.count for version, found in answered.items()} == {6: 14, 7: 6}

    assert again(kafka, pipeline, version=6, answered_by=7).predictions == 6

    assert ids(kafka, pipeline) == [sample_id(number) for number in range(10, 16)]
    assert all(b'"version": 6' in value for _, value in values(kafka, pipeline.repredictions_topic))
    assert again(kafka, pipeline, run="run-2", version=6, answered_by=7).predictions == 0


def test_a_period_that_goes_on_is_continued(kafka, pipeline):
    since = {"since": at(NOW_MS + 10)}
    ask(kafka, pipeline, *map(request, range(15)))
    again(kafka, pipeline, **since)
    ask(kafka, pipeline, *map(request, range(15, 18)))

    assert again(kafka, pipeline, run="run-2", **since).predictions == 3

    assert ids(kafka, pipeline) == [sample_id(number) for number in range(10, 18)]


def test_periods_that_follow_each_other_hold_each_request_once_and_late_ones_where_they_were_written(kafka, pipeline):
    """The request of time 5 comes behind that of time 25."""
    times = [0, 12, 25, 5, 27, 14, 31]
    whole = ask(kafka, pipeline, *(request(number, timestamp_ms=NOW_MS + ms) for number, ms in enumerate(times)))
    edges = [NOW_MS + ms for ms in (0, 10, 20, 30, 40)]

    periods = [written_between(kafka, "a-group", whole, since, until)[0] for since, until in pairwise(edges)]

    assert [(item.start, item.end) for item in periods] == [(0, 1), (1, 2), (2, 6), (6, 7)]
    assert written_between(kafka, "a-group", whole, None, edges[1])[0].end == 1
    assert written_between(kafka, "a-group", whole, edges[3], None)[0].start == 6


def test_requests_that_are_no_samples_are_counted_and_become_no_dead_letters(kafka, pipeline):
    ask(kafka, pipeline, request(10), bad_request(11), request(12))

    done = again(kafka, pipeline, **PERIOD)

    assert (done.predictions, done.refused) == (2, {"wrong-size": 1})
    assert committed_records(kafka, pipeline.dead_letters_topic) == []


def test_a_period_without_requests_is_nothing_to_do(kafka, pipeline):
    ask(kafka, pipeline, *map(request, range(5)))

    with pytest.raises(NothingToDo, match="no requests since"):
        again(kafka, pipeline, **PERIOD)
    with pytest.raises(NothingToDo, match="no requests answered by version 3"):
        again(kafka, pipeline, answered_by=3)


def test_a_period_that_retention_has_cut_is_refused_until_that_is_accepted(kafka, pipeline):
    ask(kafka, pipeline, *map(request, range(10, 20)))
    delete_records(kafka, pipeline.requests_topic, 4)

    with pytest.raises(RangeUnavailable) as refusal:
        again(kafka, pipeline, **PERIOD)

    assert_readable(refusal.value, pipeline.requests_topic, "before offset 4", "accept_lost")
    assert again(kafka, pipeline, accept_lost=True, **PERIOD).predictions == 6
    # All requests of a later period are there.
    later = {"since": at(NOW_MS + 15), "until": at(NOW_MS + 20)}
    assert freeze_ranges(kafka, pipeline.requests_topic)[0].start == 4
    assert again(kafka, pipeline, **later).predictions == 5


@pytest.mark.parametrize(("removed", "left"), [(10, 5), (15, 0)], ids=["other requests are left", "none is left"])
@pytest.mark.parametrize("asked", [PERIOD, {"until": at(NOW_MS + 20)}], ids=["since", "until alone"])
def test_a_period_that_retention_has_removed_as_a_whole_is_refused(kafka, pipeline, removed, left, asked):
    """Not skipped: requests that are gone are no requests that were never there."""
    ask(kafka, pipeline, *map(request, range(10, 25)))
    delete_records(kafka, pipeline.requests_topic, removed)
    assert sum(item.offsets for item in freeze_ranges(kafka, pipeline.requests_topic)) == left

    with pytest.raises(RangeUnavailable) as refusal:
        again(kafka, pipeline, **asked)

    assert_readable(refusal.value, pipeline.requests_topic, f"before offset {removed}", "accept_lost")
    with pytest.raises(NothingToDo, match="no requests"):
        again(kafka, pipeline, accept_lost=True, **asked)


@pytest.mark.parametrize("asked", [{"since": at(20), "until": at(10)}, {"answered_by": 0}])
def test_what_makes_no_sense_is_refused(asked):
    with pytest.raises(ValueError, match=r"after since|greater than or equal to 1"):
        RequestSelection(**asked)
