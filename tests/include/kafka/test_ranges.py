"""Ranges are frozen at the last stable offset, and refused once they cannot be read completely."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillRunning
from dataclasses import replace

import pytest
from confluent_kafka import OFFSET_INVALID, TopicPartition
from confluent_kafka.admin import AdminClient

from include.kafka.errors import LogTruncated, RangeUnavailable, TopicMissing, TopicRecreated
from include.kafka.ranges import OffsetRange, available_offsets, check_ranges, freeze_ranges, log_ends_of_each
from include.kafka.topics import describe_topic
from tests.support.administrator import delete_records, recreate_topic
from tests.support.assertions import assert_readable
from tests.support.producers import Record, commit, open_transaction, produce, produce_in


def test_every_partition_is_frozen_from_its_first_record_to_its_end(kafka, new_topic):
    topic = new_topic(partitions=3)
    produce(kafka, topic, [Record()] * 5, partition=0)
    produce(kafka, topic, [Record()] * 2, partition=2)
    topic_id = describe_topic(kafka, topic).topic_id

    assert freeze_ranges(kafka, topic) == [
        OffsetRange(topic, topic_id, 0, 0, 5),
        OffsetRange(topic, topic_id, 1, 0, 0),
        OffsetRange(topic, topic_id, 2, 0, 2),
    ]


def test_an_open_transaction_holds_the_end_back(kafka, new_topic):
    topic = new_topic()
    produce(kafka, topic, [Record()] * 3)

    with open_transaction(kafka, topic) as producer:
        produce_in(producer, topic, [Record()] * 4)
        produce(kafka, topic, [Record()])

        assert freeze_ranges(kafka, topic, settle_s=0)[0].end == 3
        assert available_offsets(kafka, topic, [0], committed=False) == {0: (0, 8)}


def test_a_freeze_waits_for_a_transaction_that_is_being_committed(kafka, new_topic):
    """A commit returns before its markers are written: right after it, the transaction still seems open."""
    topic = new_topic(partitions=2)

    with ThreadPoolExecutor(1) as thread, open_transaction(kafka, topic) as producer:
        produce_in(producer, topic, [Record()] * 3, partition=1)
        freezing = thread.submit(freeze_ranges, kafka, topic, settle_s=20)
        with pytest.raises(StillRunning):
            freezing.result(timeout=0.5)
        producer.commit_transaction(10)

        assert [item.end for item in freezing.result(timeout=20)] == [0, 4], "three records and the commit's marker"


def test_ranges_of_a_missing_topic_are_refused(kafka, new_name):
    topic = new_name()

    with pytest.raises(TopicMissing, match=topic):
        freeze_ranges(kafka, topic)


def test_complete_ranges_pass(kafka, new_topic):
    topic = new_topic(partitions=2)
    produce(kafka, topic, [Record()] * 5)
    ranges = freeze_ranges(kafka, topic)
    produce(kafka, topic, [Record()] * 5)

    check_ranges(kafka, ranges)


def test_no_ranges_pass(kafka):
    check_ranges(kafka, [])


def test_a_range_that_retention_has_cut_is_refused(kafka, new_topic):
    topic = new_topic()
    produce(kafka, topic, [Record()] * 5)
    ranges = freeze_ranges(kafka, topic)
    delete_records(kafka, topic, 1)

    with pytest.raises(RangeUnavailable) as refusal:
        check_ranges(kafka, ranges)

    assert_readable(refusal.value, topic, "partition 0", "[0, 5) are wanted", "[1, 5) are available", "retention.ms")


def test_a_log_that_became_shorter_is_refused(kafka, new_topic):
    topic = new_topic()
    commit(kafka, topic, [Record()] * 2)
    item = freeze_ranges(kafka, topic)[0]

    with pytest.raises(LogTruncated) as refusal:
        check_ranges(kafka, [replace(item, end=item.end + 1)])

    assert_readable(refusal.value, topic, "partition 0", "offset 4", "[0, 3) are available", "unclean")


def test_a_request_that_returns_no_offset_is_retried(kafka, new_topic, monkeypatch):
    """Unchecked, the offset -1001 would look like a log that has lost its tail."""
    topic = new_topic()
    commit(kafka, topic, [Record(value=b"x")])
    asked = []
    listing = AdminClient.list_offsets

    def once_without_an_offset(client, wanted, **settings):
        asked.append(wanted)
        futures = listing(client, wanted, **settings)
        if len(asked) > 1:
            return futures
        for future in futures.values():
            future.result(10).offset = OFFSET_INVALID
        return futures

    monkeypatch.setattr(AdminClient, "list_offsets", once_without_an_offset)

    assert available_offsets(kafka, topic, [0])[0][0] == 0
    assert len(asked) == 3


def test_an_end_that_is_unknown_stands_for_its_topic_and_spares_the_others(kafka, new_topic, new_name, monkeypatch):
    topic, other = new_topic(partitions=2), new_topic()
    produce(kafka, other, [Record()])
    asked = []
    listing = AdminClient.list_offsets

    def without_an_offset(client, wanted, **settings):
        asked.append(wanted)
        futures = listing(client, wanted, **settings)
        futures[TopicPartition(topic, 1)].result(10).offset = OFFSET_INVALID
        return futures

    monkeypatch.setattr(AdminClient, "list_offsets", without_an_offset)

    ends = log_ends_of_each(kafka, [topic, other, new_name()])

    assert ends.keys() == {topic, other}
    assert_readable(ends[topic], f"listing offsets of {topic}")
    assert ends[other] == (describe_topic(kafka, other).topic_id, {0: 1})
    assert len(asked) == 1


def test_ranges_of_a_recreated_topic_are_refused(kafka, new_topic):
    topic = new_topic()
    produce(kafka, topic, [Record()] * 5)
    ranges = freeze_ranges(kafka, topic)
    recreate_topic(kafka, topic)
    produce(kafka, topic, [Record()] * 5)

    with pytest.raises(TopicRecreated) as refusal:
        check_ranges(kafka, ranges)

    assert_readable(refusal.value, topic, ranges[0].topic_id, describe_topic(kafka, topic).topic_id)


def test_a_range_survives_json(kafka, new_topic):
    item = freeze_ranges(kafka, new_topic())[0]

    assert OffsetRange(**item.to_dict()) == item
