"""Limits on dead letters: a person looks before a topic becomes dead letters."""

from __future__ import annotations

import pytest

from include.prediction.publish import TooManyRejected
from tests.include.prediction.publishing import (
    ask,
    dead_letters,
    group_offset,
    no_sample,
    position_of,
    predicted_ids,
    predictions,
    publish,
    request,
)
from tests.sentences import assert_readable
from tests.tiny import sample_id


def test_too_large_a_share_of_dead_letters_stops_the_step(kafka, new_pipeline, predictor):
    """The first chunk is within the limit and stays; the second one is not published at all."""
    pipeline = new_pipeline(prediction={"chunk_samples": 100, "max_rejected_share": 0.2})
    mixed = [no_sample(number) if number >= 100 and number % 2 else request(number) for number in range(200)]
    ranges = ask(kafka, pipeline, *mixed)

    with pytest.raises(TooManyRejected) as refusal:
        publish(kafka, pipeline, ranges, predictor)

    assert_readable(refusal.value, "50 of 200 records", "0.2", "wrong-size", "prediction.max_rejected_share")
    assert predicted_ids(kafka, pipeline) == [sample_id(number) for number in range(100)]
    assert dead_letters(kafka, pipeline) == []
    assert position_of(kafka, pipeline, ranges[0]) == group_offset(kafka, pipeline) == 100


def test_a_share_that_is_allowed_goes_on(kafka, new_pipeline, predictor):
    pipeline = new_pipeline(prediction={"max_rejected_share": 0.5})
    ranges = ask(kafka, pipeline, *(no_sample(number) if number % 2 else request(number) for number in range(200)))

    assert publish(kafka, pipeline, ranges, predictor).dead_letters == {"wrong-size": 100}


def test_too_many_dead_letters_in_a_row_stop_the_step(kafka, new_pipeline, predictor):
    pipeline = new_pipeline(prediction={"max_rejected_in_a_row": 5})
    ranges = ask(kafka, pipeline, *map(request, range(10)), *map(no_sample, range(10, 16)), request(16))

    with pytest.raises(TooManyRejected) as refusal:
        publish(kafka, pipeline, ranges, predictor)

    assert_readable(refusal.value, "6 records in a row", pipeline.requests_topic, "prediction.max_rejected_in_a_row")
    assert predictions(kafka, pipeline) == dead_letters(kafka, pipeline) == []
    assert position_of(kafka, pipeline, ranges[0]) is None


def test_dead_letters_in_a_row_are_counted_across_chunks(kafka, new_pipeline, predictor):
    pipeline = new_pipeline(prediction={"max_rejected_in_a_row": 5, "chunk_samples": 4})
    ranges = ask(kafka, pipeline, *map(no_sample, range(6)))

    with pytest.raises(TooManyRejected):
        publish(kafka, pipeline, ranges, predictor)

    assert len(dead_letters(kafka, pipeline)) == 4


def test_a_good_record_between_ends_the_row(kafka, new_pipeline, predictor):
    pipeline = new_pipeline(prediction={"max_rejected_in_a_row": 5})
    ranges = ask(kafka, pipeline, *(request(number) if number % 6 == 5 else no_sample(number) for number in range(30)))

    assert publish(kafka, pipeline, ranges, predictor).rejected == 25


def test_a_limit_that_was_met_is_met_again(kafka, new_pipeline, predictor):
    """A retry does not drain the topic into dead letters, one limit at a time."""
    pipeline = new_pipeline(prediction={"max_rejected_in_a_row": 5})
    ranges = ask(kafka, pipeline, *map(no_sample, range(20)))

    for _ in range(2):
        with pytest.raises(TooManyRejected):
            publish(kafka, pipeline, ranges, predictor)

    assert dead_letters(kafka, pipeline) == []
