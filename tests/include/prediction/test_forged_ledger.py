"""Whoever writes to the ledger alone neither skips requests nor has results published again."""

from __future__ import annotations

import json

import pytest

from include.exactly_once.attempt import Attempt
from include.exactly_once.progress import progress_scope
from include.exactly_once.snapshot import snapshot_progress
from include.kafka.errors import LedgerDamaged
from include.prediction.publish import STEP
from tests.support.assertions import assert_readable
from tests.support.producers import Record, commit
from tests.support.publishing import ask, predicted_ids, publish, request
from tests.support.tiny_pipelines import sample_id


@pytest.fixture
def published(kafka, new_pipeline, predictor):
    """A pipeline with four predicted requests in partition 0, and two that came since."""
    pipeline = new_pipeline()
    publish(kafka, pipeline, ask(kafka, pipeline, *map(request, range(4))), predictor)
    ranges = ask(kafka, pipeline, request(4), request(5))
    return pipeline, ranges


def forge(kafka, pipeline, item, **changed):
    """Write an entry as another program may that has the right to write to the ledger."""
    key = Attempt(kafka, pipeline.name, STEP, "").key(progress_scope(item))
    value = None
    if changed:
        entry = {**snapshot_progress(kafka, pipeline.name, STEP, [item])[item.partition], **changed}
        value = json.dumps(entry).encode()
    commit(kafka, "millrace.ledger", [Record(key=key.encode(), value=value)], partition=key.partition)


@pytest.mark.parametrize("moved", [2, -4], ids=["ahead", "back"])
def test_a_position_that_was_moved_is_refused(kafka, published, predictor, moved):
    pipeline, ranges = published
    position = snapshot_progress(kafka, pipeline.name, STEP, ranges)[0]["position"]
    forge(kafka, pipeline, ranges[0], position=position + moved)

    with pytest.raises(LedgerDamaged) as refused:
        publish(kafka, pipeline, ranges, predictor)

    assert_readable(refused.value, f"position {position + moved}", f"has {position}", pipeline.requests_topic)
    assert predicted_ids(kafka, pipeline) == [sample_id(number) for number in range(4)]


def test_an_entry_that_was_deleted_is_refused(kafka, published, predictor):
    pipeline, ranges = published
    forge(kafka, pipeline, ranges[0])

    with pytest.raises(LedgerDamaged) as refused:
        publish(kafka, pipeline, ranges, predictor)

    assert_readable(refused.value, "no position", pipeline.requests_topic)
    assert len(predicted_ids(kafka, pipeline)) == 4


def test_the_ledger_counts_where_the_groups_offset_has_expired(kafka, published, predictor):
    pipeline, ranges = published
    group = Attempt(kafka, pipeline.name, STEP, "").group()
    with kafka.admin() as admin:
        admin.delete_consumer_groups([group])[group].result(30)

    publish(kafka, pipeline, ranges, predictor)

    assert predicted_ids(kafka, pipeline) == [sample_id(number) for number in range(6)]
