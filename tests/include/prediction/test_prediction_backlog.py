"""The requests that have no prediction yet, without an operator."""

from __future__ import annotations

import pytest

from include.errors import NothingToDo
from include.exactly_once.attempt import consumer_group
from include.exactly_once.progress import show_lag
from include.kafka.errors import RangeUnavailable, TopicRecreated
from include.prediction.backlog import freeze_requests, prediction_backlog
from tests.support.administrator import delete_group, delete_records, group_offsets, recreate_topic
from tests.support.publishing import ask, publish, request


def test_what_was_published_is_no_backlog(kafka, new_pipeline, predictor):
    pipeline = new_pipeline(topics={"partitions": 2})
    publish(kafka, pipeline, ask(kafka, pipeline, *map(request, range(3))), predictor)
    ask(kafka, pipeline, *map(request, range(3, 5)))
    ask(kafka, pipeline, *map(request, range(5, 9)), partition=1)

    backlog = prediction_backlog(kafka, pipeline)

    assert backlog.positions == {0: 3, 1: 0}
    assert [item.offsets for item in backlog.unprocessed] == [2, 4]
    assert (backlog.offsets, backlog.lost, backlog.begun) == (6, {}, True)


def test_a_run_waits_for_enough_requests_and_takes_all_of_them(kafka, new_pipeline):
    pipeline = new_pipeline(topics={"partitions": 2})
    ask(kafka, pipeline, *map(request, range(3)))

    with pytest.raises(NothingToDo, match="has 3 new requests and a run needs 4"):
        freeze_requests(kafka, pipeline, min_new_requests=4)
    frozen = freeze_requests(kafka, pipeline)
    (only,) = frozen.ranges
    assert (only.partition, only.start, only.end) == (0, 0, 3)
    assert (frozen.new_requests, frozen.counted_all) == (3, False)
    assert freeze_requests(kafka, pipeline, min_new_requests=3).counted_all


def test_requests_that_retention_removed_are_refused_or_counted(kafka, new_pipeline, predictor):
    pipeline = new_pipeline()
    publish(kafka, pipeline, ask(kafka, pipeline, request(0)), predictor)
    ask(kafka, pipeline, *map(request, range(1, 6)))
    delete_records(kafka, pipeline.requests_topic, 4)

    with pytest.raises(RangeUnavailable, match="accept_lost"):
        prediction_backlog(kafka, pipeline)
    backlog = prediction_backlog(kafka, pipeline, accept_lost=True)
    assert (backlog.lost, backlog.positions, backlog.offsets) == ({0: 3}, {0: 4}, 2)


def test_positions_in_a_topic_that_was_recreated_are_refused(kafka, new_pipeline, predictor):
    pipeline = new_pipeline()
    publish(kafka, pipeline, ask(kafka, pipeline, request(0)), predictor)
    recreate_topic(kafka, pipeline.requests_topic)

    with pytest.raises(TopicRecreated):
        prediction_backlog(kafka, pipeline)


def test_kafka_s_own_tools_show_what_waits_before_the_first_prediction(kafka, new_pipeline, predictor):
    """They show the lag of a group where it has an offset."""
    pipeline = new_pipeline(topics={"partitions": 2})
    group = consumer_group(kafka.environment, pipeline.name, "predict")
    ranges = ask(kafka, pipeline, *map(request, range(3)))
    assert group_offsets(kafka, group) == {}

    prediction_backlog(kafka, pipeline)

    assert group_offsets(kafka, group) == {0: 0, 1: 0}
    publish(kafka, pipeline, ranges, predictor)
    assert group_offsets(kafka, group) == {0: 3, 1: 0}


def test_a_start_that_is_committed_after_a_prediction_is_no_position(kafka, new_pipeline, predictor):
    """Two tasks may look at once: one publishes, and the other one has just found no offset."""
    pipeline = new_pipeline()
    group = consumer_group(kafka.environment, pipeline.name, "predict")
    begun = prediction_backlog(kafka, pipeline).ranges
    publish(kafka, pipeline, ask(kafka, pipeline, *map(request, range(3))), predictor)
    delete_group(kafka, group)
    show_lag(kafka, group, begun)
    assert group_offsets(kafka, group) == {0: 0}

    published = publish(kafka, pipeline, ask(kafka, pipeline, *map(request, range(3, 5))), predictor)

    assert published.predictions == 2
    assert group_offsets(kafka, group) == {0: 5}
