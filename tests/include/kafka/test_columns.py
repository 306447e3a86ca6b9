"""Columns have what messages have; where there can be none, one line says so and messages are read."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from zlib import crc32

import pytest

from include.kafka import columns
from include.kafka.columns import column_consumer
from include.kafka.headers import headers_of
from include.kafka.ranges import freeze_ranges
from include.kafka.reader import read_columns, read_ranges
from include.kafka.settings import InvalidSettings
from tests.support.producers import Record, produce
from tests.support.unreadable_headers import produce_unreadable_header

RECORDS = [
    Record(b"value", b"key", [("name", b"content")]),
    Record(None, b"tombstone", [("name", None), ("name", b""), ("", b"\0")]),
    Record(b"", b""),
    Record(bytes(100_000), None, [("größe", bytes(70_000))]),
]


@pytest.fixture(scope="module")
def ranges(kafka, new_topic):
    topic = new_topic(partitions=2)
    produce(kafka, topic, RECORDS * 100)
    produce_unreadable_header(kafka, topic, b"value")
    produce(kafka, topic, RECORDS * 3, partition=1)
    return freeze_ranges(kafka, topic)


@pytest.fixture
def _fresh():
    """As in a process that has not looked for the library yet."""
    columns._library.cache_clear()
    yield
    columns._library.cache_clear()


def kinds(kafka, ranges) -> set[str]:
    return {type(found).__name__ for _, found in read_columns(kafka, "test-columns", ranges)}


def test_columns_have_what_messages_have(kafka, ranges):
    expected = [
        (
            *(index, message.offset(), message.timestamp()[1], message.leader_epoch()),
            *(message.value(), message.key(), crc32(message.key() or b""), headers),
        )
        for index, messages in read_ranges(kafka, "test-columns", ranges)
        for message, headers in zip(messages, headers_of(messages), strict=True)
    ]

    found = [
        (index, *of_record, batch.header_sets[number])
        for index, batch in read_columns(kafka, "test-columns", ranges)
        for *of_record, number in zip(
            *(batch.offsets, batch.timestamps, batch.leader_epochs, batch.values, batch.keys, batch.key_hashes),
            batch.headers,
            strict=True,
        )
    ]

    assert found == expected
    assert len(found) == len(RECORDS) * 103 + 1


def with_another_librdkafka(patch):
    patch.setattr(columns, "LIBRDKAFKA", range(0))


def switched_off(patch):
    patch.setenv("MILLRACE_NO_NATIVE", "1")


@pytest.mark.usefixtures("_fresh")
@pytest.mark.parametrize(
    ("without", "reason"),
    [
        (with_another_librdkafka, "OSError: librdkafka has version 0x2"),
        (switched_off, "MILLRACE_NO_NATIVE is set"),
    ],
)
def test_without_the_library_one_line_says_why_and_messages_are_read(
    kafka, ranges, monkeypatch, caplog, without, reason
):
    without(monkeypatch)

    with caplog.at_level(logging.INFO, columns.log.name):
        assert kinds(kafka, ranges) == {"list"}
        assert kinds(kafka, ranges) == {"list"}

    (line,) = [record.getMessage() for record in caplog.records if record.name == columns.log.name]
    assert line.startswith(f"Records are read one at a time, which takes longer ({reason}")


@pytest.mark.parametrize(
    "setting",
    [{"stats_cb": print, "statistics.interval.ms": 1000}, {"sasl.mechanisms": "OAUTHBEARER"}],
    ids=["function", "token"],
)
def test_settings_that_call_python_make_messages(kafka, setting):
    with column_consumer(replace(kafka, settings={**kafka.settings, **setting}), "test-columns") as consumer:
        assert consumer is None


def test_a_setting_that_librdkafka_refuses_is_refused_as_ever(kafka, ranges):
    wrong = replace(kafka, settings={**kafka.settings, "fetch.min.bytes": "many"})

    with pytest.raises(InvalidSettings, match=r"fetch\.min\.bytes"):
        kinds(wrong, ranges)


def test_what_librdkafka_reports_is_logged(no_broker, ranges, caplog):
    with caplog.at_level(logging.INFO), column_consumer(no_broker, "test-columns", debug="conf") as consumer:
        consumer.assign(ranges[0])
        deadline, pause = time.monotonic() + 30, threading.Event()
        while not any(record.getMessage().startswith("Kafka client: ") for record in caplog.records):
            assert time.monotonic() < deadline
            assert len(consumer.consume(10, 0.05)[0]) == 0
            pause.wait(0.01)

    assert "librdkafka" in {record.name for record in caplog.records}
