"""The newest records are found before any number of markers and aborted records, within the limits."""

from __future__ import annotations

import pytest

from include.kafka.newest import Limits, newest_records
from include.kafka.ranges import freeze_ranges
from tests.support.administrator import delete_records
from tests.support.producers import NOW_MS, Record, abort, commit, numbered, open_transaction, produce, produce_in


def newest(kafka, topic, number, **arguments):
    messages, complete = newest_records(kafka, "test-newest", freeze_ranges(kafka, topic), number, **arguments)
    return [int(message.value()) for message in messages], complete


@pytest.mark.parametrize("number", [1, 3, 20, 100])
def test_the_newest_come_first_from_one_partition(kafka, new_topic, number):
    topic = new_topic()
    for first in range(0, 20, 5):
        commit(kafka, topic, numbered(*range(first, first + 5)))
    assert newest(kafka, topic, number) == (list(range(19, -1, -1))[:number], True)


def test_partitions_are_merged_by_time(kafka, new_topic):
    topic = new_topic(3)
    for partition in (0, 1):
        numbers = range(partition, 9, 2)
        records = [Record(value=str(number).encode(), timestamp_ms=NOW_MS + number) for number in numbers]
        produce(kafka, topic, records, partition=partition)
    assert newest(kafka, topic, 5) == ([8, 7, 6, 5, 4], True)


def test_aborted_records_and_open_transactions_are_skipped(kafka, new_topic):
    topic = new_topic()
    commit(kafka, topic, numbered(1, 2))
    abort(kafka, topic, numbered(*range(100, 160)))
    with open_transaction(kafka, topic) as producer:
        produce_in(producer, topic, numbered(200))
        messages = newest_records(kafka, "test-newest", freeze_ranges(kafka, topic, settle_s=0), 2)[0]
        producer.abort_transaction(10)
    assert [int(message.value()) for message in messages] == [2, 1]


def test_an_empty_topic_and_one_that_retention_has_cut(kafka, new_topic):
    topic = new_topic()
    assert newest(kafka, topic, 5) == ([], True)
    produce(kafka, topic, numbered(1, 2, 3))
    delete_records(kafka, topic, 2)
    assert newest(kafka, topic, 5) == ([3], True)


def test_the_limit_of_offsets_ends_the_search_and_is_reported(kafka, new_topic):
    topic = new_topic()
    commit(kafka, topic, numbered(1))
    abort(kafka, topic, numbered(*range(100, 160)))
    assert newest(kafka, topic, 1, limits=Limits(offsets=20, size=10**6)) == ([], False)


def test_the_limit_of_bytes_keeps_the_newest(kafka, new_topic):
    topic = new_topic()
    values = [*("0" * 4000 + str(number) for number in range(1, 9)), "9"]
    produce(kafka, topic, [Record(value=value.encode()) for value in values])
    assert newest(kafka, topic, 9, limits=Limits(offsets=100, size=12_000)) == ([9, 8], False)


def test_only_wanted_records_count(kafka, new_topic):
    topic = new_topic()
    produce(kafka, topic, numbered(*range(40)))
    assert newest(kafka, topic, 3, wanted=lambda message: int(message.value()) < 10) == ([9, 8, 7], True)
