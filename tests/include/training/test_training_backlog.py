"""The samples that no training has learnt from, without an operator."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from include.errors import NothingToDo
from include.exactly_once.attempt import Attempt
from include.training.backlog import STEP, StartTooLate, freeze_training, training_backlog
from tests.support.administrator import delete_records, recreate_topic
from tests.support.assertions import assert_readable
from tests.support.producers import NOW_MS, Record, produce


@pytest.fixture
def learnt(kafka, new_pipeline):
    """A pipeline that has learnt from five samples; three more have come since."""
    pipeline = new_pipeline()
    produce(kafka, pipeline.samples_topic, [Record()] * 5)
    ranges = training_backlog(kafka, pipeline).samples.ranges
    Attempt(kafka, pipeline.name, STEP, "run").record_progress(ranges)
    produce(kafka, pipeline.samples_topic, [Record()] * 3)
    return pipeline


def test_a_training_waits_for_new_samples_and_learns_from_all(kafka, learnt):
    with pytest.raises(NothingToDo, match="has 3 new samples and a training needs 4"):
        freeze_training(kafka, learnt, min_new_samples=4)

    frozen = freeze_training(kafka, learnt, min_new_samples=3)

    assert [(item.start, item.end) for item in frozen.ranges] == [(0, 8)]
    assert (frozen.new_samples, frozen.initial_weights) == (3, None)


@pytest.mark.parametrize(("asked", "counted_all"), [(3, True), (2, False)])
def test_new_samples_are_counted_to_their_end_or_said_to_go_on(kafka, learnt, asked, counted_all):
    frozen = freeze_training(kafka, learnt, min_new_samples=asked)

    assert (frozen.new_samples, frozen.counted_all) == (3, counted_all)


def test_samples_that_retention_removed_are_counted_as_lost(kafka, learnt):
    delete_records(kafka, learnt.samples_topic, 7)

    samples = training_backlog(kafka, learnt).samples

    assert (samples.lost, samples.offsets) == ({0: 2}, 1)


def test_all_samples_of_a_topic_that_was_recreated_are_new(kafka, learnt):
    recreate_topic(kafka, learnt.samples_topic)
    produce(kafka, learnt.samples_topic, [Record()] * 2)

    samples = training_backlog(kafka, learnt).samples

    assert (samples.lost, samples.offsets) == ({}, 2)


def at(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def test_a_training_as_of_a_time_learns_from_what_was_there_then(kafka, new_pipeline):
    pipeline = new_pipeline()
    produce(kafka, pipeline.samples_topic, [Record(timestamp_ms=NOW_MS + 10_000 * number) for number in range(6)])
    Attempt(kafka, pipeline.name, STEP, "run").record_progress(training_backlog(kafka, pipeline).samples.ranges)

    frozen = freeze_training(kafka, pipeline, as_of=at(NOW_MS + 30_000))

    assert [(item.start, item.end) for item in frozen.ranges] == [(0, 3)]
    assert freeze_training(kafka, pipeline, as_of=at(NOW_MS + 30_000)) == frozen
    with pytest.raises(NothingToDo, match="no samples from before"):
        freeze_training(kafka, pipeline, as_of=at(NOW_MS))


def test_a_training_as_of_a_time_does_not_start_from_the_champion(kafka, new_pipeline):
    pipeline = new_pipeline(training={"labels": ["a", "b"], "start_from": "champion"})

    with pytest.raises(StartTooLate) as refusal:
        freeze_training(kafka, pipeline, as_of=at(NOW_MS))

    assert_readable(refusal.value, pipeline.name, "training.start_from")
