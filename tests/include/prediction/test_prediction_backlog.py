"""The requests that have no prediction yet, without an operator."""

from __future__ import annotations

import pytest

from include.errors import NothingToDo
from include.kafka.errors import RangeUnavailable, TopicRecreated
from include.prediction.backlog import freeze_requests, prediction_backlog
from tests.support.administrator import delete_records, recreate_topic
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
    (only,) = freeze_requests(kafka, pipeline).ranges
    assert (only.partition, only.start, only.end) == (0, 0, 3)


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
