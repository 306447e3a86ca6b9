"""A range is read to its end, whatever is there, and a stall is not mistaken for the end."""

from __future__ import annotations

import hashlib
import threading
import time

import pytest
from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from benchmarks.measure import peak_memory
from include.errors import PermanentError
from include.kafka.columns import Columns
from include.kafka.errors import LogTruncated, RangeUnavailable, ReaderStalled, Undecompressible
from include.kafka.ranges import OffsetRange, freeze_ranges
from include.kafka.reader import read_columns, read_range, read_ranges
from tests.support.administrator import delete_records
from tests.support.assertions import assert_readable
from tests.support.consumers import committed_records
from tests.support.producers import NOW_MS, Record, abort, commit, numbered, open_transaction, produce, produce_in


@pytest.fixture(params=["messages", "columns"])
def read(request):
    """Reads a range either way, and returns its values as numbers."""

    def messages(kafka, wanted):
        with kafka.consumer("test-reader") as consumer:
            batches = list(read_range(kafka, consumer, wanted))
        return [int(message.value()) for messages in batches for message in messages]

    def columns(kafka, wanted):
        batches = [batch for _, batch in read_columns(kafka, "test-reader", [wanted])]
        assert all(isinstance(batch, Columns) for batch in batches)
        return [int(value) for batch in batches for value in batch.values]

    return {"messages": messages, "columns": columns}[request.param]


def whole(kafka, topic):
    """The range of a topic's only partition, frozen after its last transaction has ended."""
    committed_records(kafka, topic)
    return freeze_ranges(kafka, topic)[0]


def cut(item, start, end):
    return OffsetRange(item.topic, item.topic_id, item.partition, start, end)


def test_records_come_in_order(kafka, new_topic, read):
    topic = new_topic()
    produce(kafka, topic, numbered(*range(2500)))

    assert read(kafka, whole(kafka, topic)) == list(range(2500))


def test_batches_are_not_longer_than_requested(kafka, new_topic):
    topic = new_topic()
    produce(kafka, topic, numbered(*range(25)))

    with kafka.consumer("test-reader") as consumer:
        lengths = [len(batch) for batch in read_range(kafka, consumer, whole(kafka, topic), batch_size=10)]

    assert sum(lengths) == 25
    assert max(lengths) <= 10


def test_records_that_no_client_decompresses_need_a_person(kafka, new_topic, read):
    """Ten kilobytes of Zstandard stopped the readers of a topic for good, as an error that is tried again."""
    topic = new_topic()
    produce(kafka, topic, numbered(1))
    produce(kafka, topic, [Record(bytes(120_000_000))], compression="zstd")
    produce(kafka, topic, numbered(3))
    item = freeze_ranges(kafka, topic)[0]

    with pytest.raises(Undecompressible) as refusal:
        read(kafka, item)
    assert_readable(refusal.value, topic, "partition 0", "from offset 1 on", "kafka-delete-records", "accept_lost")
    assert isinstance(refusal.value, PermanentError)

    delete_records(kafka, topic, 2)
    assert read(kafka, cut(item, 2, 3)) == [3]


def test_headers_that_are_fetched_ahead_are_bounded(kafka, new_topic):
    """720 megabytes of them, in three on the wire, was in memory before the first was used."""
    topic = new_topic(max_message_bytes=2**20)
    for _ in range(4):
        produce(kafka, topic, [Record(headers=[("trace", bytes(900_000))])] * 200, compression="lz4", together=True)
    item = freeze_ranges(kafka, topic)[0]

    with peak_memory() as memory, kafka.consumer("test-reader") as consumer:
        read = 0
        for messages in read_range(kafka, consumer, item, batch_size=10):
            # Slower than the client's own thread fetches.
            read += sum(bool(hashlib.blake2b(message.headers()[0][1]).digest()) for message in messages)

    assert read == 800
    assert memory.growth < 600


def test_a_range_that_ends_in_aborted_records_ends(kafka, new_topic, read):
    topic = new_topic()
    commit(kafka, topic, numbered(1, 2))
    abort(kafka, topic, numbered(*range(100, 150)))
    item = whole(kafka, topic)
    assert item.offsets == 2 + 1 + 50 + 1

    assert read(kafka, item) == [1, 2]


def test_a_range_of_only_markers_and_aborted_records_is_empty(kafka, new_topic, read):
    topic = new_topic()
    commit(kafka, topic, numbered(1, 2))
    abort(kafka, topic, numbered(100))
    item = whole(kafka, topic)

    assert read(kafka, cut(item, 2, item.end)) == []


def test_aborted_records_in_the_middle_are_skipped(kafka, new_topic, read):
    topic = new_topic()
    commit(kafka, topic, numbered(1))
    abort(kafka, topic, numbered(100, 101))
    commit(kafka, topic, numbered(2))
    abort(kafka, topic, numbered(102))

    assert read(kafka, whole(kafka, topic)) == [1, 2]


def test_records_beyond_the_end_are_not_returned(kafka, new_topic, read):
    topic = new_topic()
    produce(kafka, topic, numbered(*range(10)))
    item = whole(kafka, topic)
    produce(kafka, topic, numbered(*range(10, 20)))

    assert read(kafka, item) == list(range(10))
    assert read(kafka, cut(item, 3, 7)) == [3, 4, 5, 6]


def test_an_empty_range_sends_no_request(kafka, no_broker, new_topic, read):
    item = freeze_ranges(kafka, new_topic())[0]

    assert read(no_broker, item) == []


@pytest.fixture
def compacted(kafka, broker, new_topic):
    """A topic of offsets 0 to 31 of which compaction has left 27 to 30 (the last of three keys, and `roll`)."""
    soon = ConfigEntry("log.cleaner.backoff.ms", "100", incremental_operation=AlterConfigOpType.SET)
    node = ConfigResource(ConfigResource.Type.BROKER, str(broker.nodes[0].id), incremental_configs=[soon])
    with AdminClient(dict(kafka.settings)) as admin:
        admin.incremental_alter_configs([node])[node].result(10)
    topic = new_topic(cleanup_policy="compact", min_cleanable_dirty_ratio="0.0", segment_ms=1)
    kept = [Record(str(number).encode(), str(number % 3).encode(), timestamp_ms=NOW_MS) for number in range(30)]
    produce(kafka, topic, kept)
    # Records' timestamps roll a segment, and two calls may be in the same millisecond.
    produce(kafka, topic, [Record(b"30", b"roll", timestamp_ms=NOW_MS + 1000)])
    deadline = time.monotonic() + 30
    pause = threading.Event()
    while (left := [record.offset() for record in committed_records(kafka, topic)])[0] == 0:
        assert time.monotonic() < deadline, "the log was not compacted within 30 s"
        pause.wait(0.05)
    assert left == [27, 28, 29, 30]
    return whole(kafka, topic)


def test_compacted_gaps_are_skipped(kafka, compacted, read):
    assert read(kafka, compacted) == [27, 28, 29, 30]
    assert read(kafka, cut(compacted, 10, 29)) == [27, 28]


def test_a_range_whose_records_are_all_compacted_away_ends(kafka, compacted, read):
    assert read(kafka, cut(compacted, 0, 20)) == []


def test_an_end_that_is_never_reached_is_a_stall(kafka, no_broker, new_topic, read):
    impatient = type(kafka)(kafka.settings, timeout_s=1)
    topic = new_topic()
    produce(kafka, topic, numbered(1, 2))
    item = whole(kafka, topic)

    with pytest.raises(ReaderStalled) as refusal:
        read(impatient, cut(item, 0, 5))

    assert_readable(refusal.value, topic, "partition 0", "1 s", "offset 2 of [0, 5)")


def test_an_open_transaction_before_the_end_is_a_stall(kafka, new_topic, read):
    impatient = type(kafka)(kafka.settings, timeout_s=1)
    topic = new_topic()
    produce(kafka, topic, numbered(1, 2))
    item = whole(kafka, topic)

    with open_transaction(kafka, topic) as producer:
        produce_in(producer, topic, numbered(3))
        with pytest.raises(ReaderStalled):
            read(impatient, cut(item, 0, 3))


def test_a_start_that_retention_removed_is_refused(kafka, new_topic, read):
    topic = new_topic()
    produce(kafka, topic, numbered(*range(10)))
    item = whole(kafka, topic)
    delete_records(kafka, topic, 4)

    with pytest.raises(RangeUnavailable) as refusal:
        read(kafka, item)

    assert_readable(
        refusal.value, topic, "partition 0", "offsets [0, 10) are wanted and [4, 10) are available", "retention.ms"
    )


def test_a_log_that_has_lost_its_tail_is_refused(kafka, new_topic, read):
    topic = new_topic()
    produce(kafka, topic, numbered(*range(10)))

    with pytest.raises(LogTruncated) as refusal:
        read(kafka, cut(whole(kafka, topic), 20, 30))

    assert_readable(refusal.value, topic, "partition 0", "offset 20")


def test_one_consumer_reads_range_after_range(kafka, new_topic):
    """Events of one partition, above all its end-of-partition event, must not end the next one's range."""
    topic = new_topic(partitions=2)
    produce(kafka, topic, numbered(*range(300)), partition=0)
    produce(kafka, topic, numbered(*range(1000, 1100)), partition=1)
    long, short = freeze_ranges(kafka, topic)

    with kafka.consumer("test-reader") as consumer:
        for _ in range(5):
            for item, first in ((long, 0), (short, 1000), (cut(long, 100, 200), 100)):
                got = [int(m.value()) for batch in read_range(kafka, consumer, item, batch_size=64) for m in batch]
                assert got == list(range(first, first + item.offsets))


@pytest.fixture(params=["messages", "columns"])
def read_several(request):
    """Reads several ranges either way: batches of numbers, each with the position of its range."""

    def messages(*arguments, **settings):
        for index, batch in read_ranges(*arguments, **settings):
            yield index, [int(message.value()) for message in batch]

    def columns(*arguments, **settings):
        for index, batch in read_columns(*arguments, **settings):
            assert isinstance(batch, Columns)
            yield index, [int(value) for value in batch.values]

    return {"messages": messages, "columns": columns}[request.param]


def test_several_ranges_are_read_one_after_the_other(kafka, new_topic, read_several):
    topic = new_topic(partitions=2)
    produce(kafka, topic, numbered(*range(100)), partition=0)
    produce(kafka, topic, numbered(*range(1000, 1100)), partition=1)
    first, second = freeze_ranges(kafka, topic)
    wanted = [cut(second, 50, 60), cut(first, 10, 10), cut(first, 90, 100), cut(second, 0, 3), first]

    got = [(index, number) for index, batch in read_several(kafka, "test-reader", wanted) for number in batch]

    assert got == [
        *((0, number) for number in range(1050, 1060)),
        *((2, number) for number in range(90, 100)),
        *((3, number) for number in range(1000, 1003)),
        *((4, number) for number in range(100)),
    ]


def test_reading_several_ranges_stops_on_request(kafka, new_topic, read_several):
    topic = new_topic()
    produce(kafka, topic, numbered(*range(5000)))
    item = whole(kafka, topic)
    taken = []

    for _, batch in read_several(kafka, "test-reader", [item] * 9, batch_size=10, stopped=lambda: len(taken) >= 20):
        taken.extend(batch)

    # Of columns, a few batches may have been taken ahead.
    assert 20 <= len(taken) < 25_000


def test_an_error_comes_after_the_ranges_before_it(kafka, new_topic, read_several):
    """Of columns, another thread meets it while the first range is read."""
    topic = new_topic(partitions=2)
    produce(kafka, topic, numbered(*range(3000)), partition=0)
    produce(kafka, topic, numbered(*range(10)), partition=1)
    first, second = freeze_ranges(kafka, topic)
    delete_records(kafka, topic, 4, partition=1)
    got = []

    with pytest.raises(RangeUnavailable, match="partition 1"):
        got.extend(
            number for _, batch in read_several(kafka, "test-reader", [first, second, first]) for number in batch
        )

    assert got == list(range(3000))


def test_an_error_does_not_wait_for_a_range_that_stalls(kafka, new_topic):
    topic = new_topic(partitions=2)
    for partition in range(2):
        produce(kafka, topic, numbered(*range(10)), partition=partition)
    gone, stalled = freeze_ranges(kafka, topic)
    delete_records(kafka, topic, 4)
    patient = type(kafka)(kafka.settings, timeout_s=120)
    began = time.monotonic()

    with pytest.raises(RangeUnavailable):
        list(read_columns(patient, "test-reader", [gone, cut(stalled, 0, 20)]))

    assert time.monotonic() - began < 60


def test_whoever_leaves_columns_early_waits_for_no_thread(kafka, new_topic):
    topic = new_topic(partitions=2)
    for partition in range(2):
        produce(kafka, topic, numbered(*range(5000)), partition=partition)
    before = set(threading.enumerate())
    reading = read_columns(kafka, "test-reader", freeze_ranges(kafka, topic) * 50)

    assert len(next(reading)[1])
    assert set(threading.enumerate()) - before
    reading.close()

    assert not set(threading.enumerate()) - before


class Scripted:
    """A consumer with scripted results; each `consume` takes a second of a clock that only it moves."""

    def __init__(self, monkeypatch, *answers):
        self.now = 0.0
        self.answers = list(answers)
        monkeypatch.setattr("include.kafka.reader.time", self)

    def monotonic(self):
        return self.now

    assigned = ()

    def assignment(self):
        return self.assigned

    def list_topics(self, *_, **__):
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    def assign(self, partitions):
        self.assigned = partitions

    def consume(self, *_):
        self.now += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def record(offset):
    return Message(topic="t", partition=0, offset=offset, value=str(offset).encode())


def failure(code):
    return Message(topic="t", partition=0, error=KafkaError(code))


RANGE = OffsetRange("t", "id", 0, 0, 3)


@pytest.mark.parametrize("code", [KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN])
def test_a_lost_broker_may_come_back(kafka, monkeypatch, code):
    consumer = Scripted(monkeypatch, [record(0)], [failure(code)], [record(1), record(2)])

    batches = list(read_range(kafka, consumer, RANGE))

    assert [message.offset() for batch in batches for message in batch] == [0, 1, 2]


def test_errors_that_continue_are_a_stall(kafka, monkeypatch):
    consumer = Scripted(monkeypatch, [failure(KafkaError._TRANSPORT)])

    with pytest.raises(ReaderStalled):
        list(read_range(kafka, consumer, RANGE))

    assert consumer.now == pytest.approx(kafka.timeout_s, abs=2)


def test_a_slow_caller_is_no_stall(kafka, monkeypatch):
    consumer = Scripted(monkeypatch, [record(0)], [], [record(1), record(2)])

    taken = []
    for batch in read_range(kafka, consumer, RANGE):
        taken += batch
        consumer.now += 10 * kafka.timeout_s

    assert len(taken) == 3


def test_a_denied_topic_ends_the_reading(kafka, monkeypatch):
    consumer = Scripted(monkeypatch, [failure(KafkaError.TOPIC_AUTHORIZATION_FAILED)])

    with pytest.raises(Exception, match="Read on Topic t while reading t partition 0"):
        list(read_range(kafka, consumer, RANGE))
