"""The samples that no training has learnt from, without an operator."""

from __future__ import annotations

import pytest

from include.errors import NothingToDo
from include.exactly_once.attempt import Attempt
from include.training.backlog import STEP, freeze_training, training_backlog
from tests.support.administrator import delete_records, recreate_topic
from tests.support.producers import Record, produce


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
    assert (frozen.new_samples, frozen.start) == (3, None)


def test_samples_that_retention_removed_are_counted_as_lost(kafka, learnt):
    delete_records(kafka, learnt.samples_topic, 7)

    samples = training_backlog(kafka, learnt).samples

    assert (samples.lost, samples.offsets) == ({0: 2}, 1)


def test_all_samples_of_a_topic_that_was_recreated_are_new(kafka, learnt):
    recreate_topic(kafka, learnt.samples_topic)
    produce(kafka, learnt.samples_topic, [Record()] * 2)

    samples = training_backlog(kafka, learnt).samples

    assert (samples.lost, samples.offsets) == ({}, 2)
