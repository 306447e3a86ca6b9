"""A step's position in a topic is kept in the ledger, and belongs to one incarnation of that topic."""

from __future__ import annotations

from dataclasses import replace

import pytest

from include.exactly_once.attempt import Attempt
from include.exactly_once.ledger import ledger_topic
from include.exactly_once.progress import (
    count_records,
    position_in,
    progress_entry,
    refuse_truncated,
)
from include.exactly_once.snapshot import snapshot_progress
from include.kafka.connection import KafkaConnection
from include.kafka.errors import LogTruncated, RangeUnavailable, TopicRecreated
from include.kafka.ranges import OffsetRange, freeze_ranges
from include.kafka.topics import ensure_topics
from tests.support.assertions import assert_readable
from tests.support.consumers import committed_records
from tests.support.producers import Record, abort, commit, produce

ITEM = OffsetRange("shoes", "id-of-shoes", 2, 10, 20)


@pytest.mark.parametrize(("position", "expected"), [(10, 10), (15, 15), (20, 20)])
def test_processing_resumes_at_the_position(position, expected):
    assert position_in(ITEM, progress_entry(ITEM, position, "run")) == expected


def test_a_position_behind_a_range_becomes_its_end():
    assert position_in(ITEM, progress_entry(ITEM, 25, "run")) == 20


def test_offsets_removed_before_they_were_processed_are_refused_unless_accepted():
    entry = progress_entry(ITEM, 3, "run")

    with pytest.raises(RangeUnavailable, match="processed to offset 3 and its range begins at 10"):
        position_in(ITEM, entry)
    assert position_in(ITEM, entry, accept_lost=True) == 10


def test_a_position_in_another_incarnation_is_refused():
    entry = progress_entry(OffsetRange("shoes", "id-of-old-shoes", 2, 0, 20), 20, "run")

    with pytest.raises(TopicRecreated) as refusal:
        position_in(ITEM, entry)

    assert_readable(refusal.value, "shoes", "id-of-shoes", "id-of-old-shoes", "partition 2", "offset 20")


def test_the_leader_epoch_is_kept_where_it_is_known():
    assert progress_entry(ITEM, 12, "run", leader_epoch=4)["leader_epoch"] == 4
    assert "leader_epoch" not in progress_entry(ITEM, 12, "run")


@pytest.fixture
def ranges(kafka, new_topic):
    topic = new_topic(partitions=3)
    ensure_topics(kafka, [ledger_topic()])
    produce(kafka, topic, [Record()] * 4, partition=0)
    produce(kafka, topic, [Record()] * 2, partition=2)
    return freeze_ranges(kafka, topic)


def test_a_log_that_ends_before_the_position_is_refused(kafka, ranges):
    """Otherwise the next records would count as processed."""
    item = ranges[0]

    with pytest.raises(LogTruncated) as refusal:
        refuse_truncated(kafka, item, progress_entry(item, item.end + 1, "run"))

    assert_readable(refusal.value, item.topic, "partition 0", f"offset {item.end + 1}", f"[0, {item.end})")


def test_a_position_that_a_later_run_has_reached_is_no_loss(kafka, ranges):
    produce(kafka, ranges[0].topic, [Record()] * 3)

    refuse_truncated(kafka, ranges[0], progress_entry(ranges[0], ranges[0].end + 3, "a later run"))


def test_progress_is_found_again_by_partition(kafka, new_name, ranges):
    pipeline = new_name()
    Attempt(kafka, pipeline, "train", "run 1").record_progress(ranges[:2])

    found = snapshot_progress(kafka, pipeline, "train", ranges)

    assert found == {
        item.partition: {"topic_id": item.topic_id, "position": item.end, "run": "run 1"} for item in ranges[:2]
    }


def test_an_older_run_that_ends_last_takes_no_position_back(kafka, new_name, ranges):
    pipeline, older = new_name(), [replace(item, end=item.end - 1) for item in ranges if item.offsets]
    Attempt(kafka, pipeline, "train", "newer").record_progress(ranges)

    Attempt(kafka, pipeline, "train", "older").record_progress(older)

    found = snapshot_progress(kafka, pipeline, "train", ranges)
    assert {number: entry["position"] for number, entry in found.items()} == {
        item.partition: item.end for item in ranges
    }


def test_a_position_goes_back_to_the_end_of_a_log_that_was_truncated(kafka, new_name, ranges):
    pipeline, item = new_name(), ranges[0]
    Attempt(kafka, pipeline, "train", "before").record_progress([replace(item, end=item.end + 3)])

    Attempt(kafka, pipeline, "train", "after").record_progress([item])

    assert snapshot_progress(kafka, pipeline, "train", ranges)[0]["position"] == item.end


def test_another_step_or_environment_has_its_own_progress(kafka, new_name, ranges):
    pipeline = new_name()
    Attempt(kafka, pipeline, "train", "run 1").record_progress(ranges)
    production = KafkaConnection(kafka.settings, timeout_s=10, environment="production")
    ensure_topics(production, [ledger_topic(environment="production")])

    assert snapshot_progress(kafka, pipeline, "predict", ranges) == {}
    assert snapshot_progress(production, pipeline, "train", ranges) == {}


def test_records_are_counted_and_not_offsets(kafka, new_topic):
    topic = new_topic()
    commit(kafka, topic, [Record()] * 3)
    abort(kafka, topic, [Record()] * 50)
    commit(kafka, topic, [Record()] * 4)
    committed_records(kafka, topic)
    item = freeze_ranges(kafka, topic)[0]
    assert item.offsets == 3 + 1 + 50 + 1 + 4 + 1

    assert count_records(kafka, "test", [item], enough=1000) == 7


def test_counting_ends_when_there_are_enough(kafka, new_topic):
    topic = new_topic(partitions=2)
    produce(kafka, topic, [Record()] * 10, partition=0)
    first, _ = freeze_ranges(kafka, topic)
    never_ends = OffsetRange(topic, first.topic_id, 1, 0, 10)

    assert count_records(kafka, "test", [first, never_ends], enough=10) >= 10
