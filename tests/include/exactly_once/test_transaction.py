"""Everything in a transaction becomes visible together, or nothing does, and only its newest owner may commit."""

from __future__ import annotations

import os
import time

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import NewTopic

from include.errors import Stopped
from include.exactly_once.transaction import TransactionalWriter
from include.kafka.connection import KafkaConnection
from include.kafka.dead_letters import EXTRA_BYTES
from include.kafka.errors import BrokerUnavailable, Fenced, RecordTooLarge, TopicMissing, TransactionFailed
from include.kafka.records import OutgoingRecord
from include.kafka.topics import TopicSpec, ensure_topics
from include.local.broker import running_cluster
from tests.support.assertions import assert_readable
from tests.support.consumers import committed_records, log_ends
from tests.support.producers import NOW_MS


def values(kafka, topic):
    return [record.value() for record in committed_records(kafka, topic)]


def write(writer, *records):
    """One transaction of the writer."""
    with writer.transaction():
        for record in records:
            writer.produce(record)


def fail(writer, *records, meanwhile=lambda: None):
    """A transaction that raises when its records are in the log."""
    with writer.transaction():
        for record in records:
            writer.produce(record)
        writer._producer.flush(10)
        meanwhile()
        raise ZeroDivisionError


def test_a_transaction_is_visible_when_its_block_ends(kafka, new_topic):
    topic = new_topic()

    with TransactionalWriter(kafka, topic) as writer, writer.transaction():
        writer.produce(OutgoingRecord(topic, b"key", b"one", [("header", b"content")], timestamp_ms=NOW_MS))
        writer.produce(OutgoingRecord(topic, b"key", b"two"))

    one, two = committed_records(kafka, topic)
    assert (one.key(), one.value(), one.headers(), one.timestamp()[1]) == (
        b"key",
        b"one",
        [("header", b"content")],
        NOW_MS,
    )
    assert two.value() == b"two"


def test_several_topics_become_visible_together(kafka, new_topic):
    left, right = new_topic(), new_topic(partitions=2)

    with TransactionalWriter(kafka, left) as writer:
        write(writer, OutgoingRecord(left, None, b"1"), OutgoingRecord(right, None, b"2", partition=1))
        with pytest.raises(ZeroDivisionError):
            fail(writer, OutgoingRecord(left, None, b"3"), OutgoingRecord(right, None, b"4", partition=1))

    assert values(kafka, left) == [b"1"]
    assert values(kafka, right) == [b"2"]


def test_a_stop_before_the_commit_aborts_what_is_in_the_log(kafka, new_topic):
    topic = new_topic()
    stop = []

    with TransactionalWriter(kafka, topic, stopped=lambda: bool(stop)) as writer:
        write(writer, OutgoingRecord(topic, None, b"before"))
        stop.append(True)
        with pytest.raises(Stopped) as stopped:
            write(writer, OutgoingRecord(topic, None, b"after"))

    assert_readable(stopped.value, topic)
    assert values(kafka, topic) == [b"before"]


def test_an_exception_in_the_block_aborts_what_is_in_the_log(kafka, new_topic):
    topic = new_topic()

    with TransactionalWriter(kafka, topic) as writer, pytest.raises(ZeroDivisionError):
        fail(writer, OutgoingRecord(topic, None, b"value"))

    assert values(kafka, topic) == []
    assert log_ends(kafka, topic, [0]) == {0: 2}, "the record and its abort marker"


def test_a_writer_commits_again_after_an_abort(kafka, new_topic):
    topic = new_topic()

    with TransactionalWriter(kafka, topic) as writer:
        with pytest.raises(ZeroDivisionError):
            fail(writer, OutgoingRecord(topic, None, b"aborted"))
        write(writer, OutgoingRecord(topic, None, b"committed"))

    assert values(kafka, topic) == [b"committed"]


def test_a_second_owner_fences_the_first(kafka, new_topic):
    topic = new_topic()

    def be_overtaken():
        with TransactionalWriter(kafka, topic) as zombie, zombie.transaction():
            zombie.produce(OutgoingRecord(topic, None, b"of the zombie"))
            zombie._producer.flush(10)
            with TransactionalWriter(kafka, topic) as owner:
                write(owner, OutgoingRecord(topic, None, b"of the owner"))

    with pytest.raises(Fenced) as refusal:
        be_overtaken()

    assert_readable(refusal.value, topic)
    assert values(kafka, topic) == [b"of the owner"]


def test_a_writer_that_is_fenced_between_two_records_says_so(kafka, new_topic):
    """librdkafka knows it before the next record, which it refuses with "Fatal error" and without the cause."""
    topic = new_topic()

    def go_on_until_refused():
        with TransactionalWriter(kafka, topic) as zombie, zombie.transaction():
            with TransactionalWriter(kafka, topic):
                pass
            while True:
                zombie.produce(OutgoingRecord(topic, None, b"of the zombie"))
                zombie._serve_reports(1, until_delivered=True)

    with pytest.raises(Fenced, match="while this one was producing to"):
        go_on_until_refused()


def test_an_owner_that_fails_says_why_though_it_is_fenced(kafka, new_topic):
    """The first exception is raised, also if aborting fails."""
    topic = new_topic()

    def overtake():
        with TransactionalWriter(kafka, topic):
            pass

    def fail_overtaken():
        with TransactionalWriter(kafka, topic) as zombie:
            fail(zombie, OutgoingRecord(topic, None, b"value"), meanwhile=overtake)

    with pytest.raises(ZeroDivisionError):
        fail_overtaken()

    assert values(kafka, topic) == []


def test_an_owner_that_was_fenced_never_commits(kafka, new_topic):
    topic = new_topic()

    with TransactionalWriter(kafka, topic) as zombie:
        with TransactionalWriter(kafka, topic):
            pass
        for _ in range(2):
            with pytest.raises(Fenced) as refusal:
                write(zombie, OutgoingRecord(topic, None, b"value"))
            assert_readable(refusal.value, topic)

    assert values(kafka, topic) == []


def test_other_ids_do_not_fence_each_other(kafka, new_topic):
    topic = new_topic()

    with (
        TransactionalWriter(kafka, f"{topic}.0") as left,
        TransactionalWriter(kafka, f"{topic}.1") as right,
        left.transaction(),
        right.transaction(),
    ):
        left.produce(OutgoingRecord(topic, None, b"left"))
        right.produce(OutgoingRecord(topic, None, b"right"))

    assert sorted(values(kafka, topic)) == [b"left", b"right"]


def test_no_record_is_lost_where_the_first_are_refused(kafka, new_topic, new_name):
    """A node refuses requests until it leads a new partition; with several in flight, one topic in twenty lost some."""
    # Batches of one record, so that there are many requests.
    small = new_topic(max_message_bytes=1000)
    numbers = [str(number).encode() for number in range(6)]
    with TransactionalWriter(kafka, small, topics=(small,)) as writer, kafka.admin() as admin:
        topics = [new_name() for _ in range(40)]
        for topic in topics:
            admin.create_topics([NewTopic(topic, num_partitions=1)])[topic].result(30)
            write(writer, *(OutgoingRecord(topic, number, bytes(800), partition=0) for number in numbers))

    keys = {topic: [record.key() for record in committed_records(kafka, topic)] for topic in topics}
    assert keys == dict.fromkeys(topics, numbers)


def test_an_oversize_record_is_refused_before_it_is_sent(kafka, new_topic):
    topic = new_topic(max_message_bytes=2000)

    with TransactionalWriter(kafka, topic) as writer:
        record = OutgoingRecord(topic, b"number 17", b"x" * 2000)
        with pytest.raises(RecordTooLarge) as refusal:
            writer.check_size(record)

    assert_readable(refusal.value, topic, "number 17", f"{record.size_bound} bytes", "2000 bytes", "max.message.bytes")
    assert log_ends(kafka, topic, [0]) == {}


def test_an_oversize_key_is_cut_in_the_error(kafka, new_topic):
    topic = new_topic(max_message_bytes=2000)

    with TransactionalWriter(kafka, topic) as writer, pytest.raises(RecordTooLarge) as refusal:
        writer.check_size(OutgoingRecord(topic, b"k" * 100_000, b"value"))

    assert len(str(refusal.value)) < 500


@pytest.mark.parametrize("limit", [1024, 65_536, 3_000_000])
def test_a_record_of_the_largest_size_is_accepted(kafka, new_topic, limit):
    """The bound has to hold for content that does not compress, above all beyond librdkafka's own limit of 1 MB."""
    topic = new_topic(max_message_bytes=limit)
    headers = [("schema", b"tensor.raw/1"), ("label", b"a")]
    without_value = OutgoingRecord(topic, b"key", b"", headers).size_bound
    record = OutgoingRecord(topic, b"key", os.urandom(limit - without_value), headers)
    assert record.size_bound == limit

    with TransactionalWriter(kafka, topic, topics=[topic]) as writer:
        writer.check_size(record)
        with writer.transaction():
            writer.produce(record)

    assert values(kafka, topic) == [record.value]


def test_many_records_for_a_topic_of_small_batches_are_accepted(kafka, new_topic):
    """The broker holds a batch to the limit of a record, and a client's batches are 1 MB by default."""
    topic = new_topic(max_message_bytes=20_000)

    with TransactionalWriter(kafka, topic, topics=[topic]) as writer, writer.transaction():
        for _ in range(200):
            writer.produce(OutgoingRecord(topic, None, os.urandom(784)))

    assert len(values(kafka, topic)) == 200


def test_a_dead_letter_topic_accepts_what_its_source_accepted(kafka, new_topic):
    source, larger = new_topic(max_message_bytes=1_048_576), new_topic(max_message_bytes=1_048_576 + EXTRA_BYTES)
    value = os.urandom(1_048_576 - 1000)

    with TransactionalWriter(kafka, source, topics=[source, larger]) as writer, writer.transaction():
        writer.produce(OutgoingRecord(source, None, value))
        writer.produce(OutgoingRecord(larger, None, value, [("dead-letter-error", b"x" * 1024)]))

    assert values(kafka, source) == values(kafka, larger) == [value]


def test_a_missing_topic_is_refused_before_anything_is_written(kafka, new_name):
    topic = new_name()

    with pytest.raises(TopicMissing) as refusal, TransactionalWriter(kafka, topic, topics=[topic]):
        pass

    assert_readable(refusal.value, topic)


def test_a_topic_that_is_missing_fails_the_commit(kafka, new_topic, new_name):
    """One record that is not delivered fails the whole transaction."""
    there, missing = new_topic(), new_name()
    impatient = KafkaConnection({**kafka.settings, "topic.metadata.propagation.max.ms": 500}, timeout_s=10)

    with TransactionalWriter(impatient, there) as writer, pytest.raises(TransactionFailed) as refusal:
        write(writer, OutgoingRecord(there, None, b"value"), OutgoingRecord(missing, None, b"value"))

    assert_readable(refusal.value, there, missing)
    assert values(kafka, there) == []


@pytest.fixture
def pause(broker):
    """Pauses the broker, like a machine that swaps; it resumes when the test ends."""
    yield broker.nodes[0].process().suspend
    broker.nodes[0].process().resume()


def test_a_commit_without_an_answer_fails(kafka, broker, pause, new_topic):
    impatient = KafkaConnection(kafka.settings, timeout_s=1)
    topic = new_topic()

    def lose_the_broker():
        with TransactionalWriter(impatient, topic, transaction_timeout_s=1) as writer:
            pause()
            write(writer, OutgoingRecord(topic, None, b"value"))

    with pytest.raises((BrokerUnavailable, TransactionFailed)) as refusal:
        lose_the_broker()

    assert_readable(refusal.value, topic)
    broker.nodes[0].process().resume()
    with TransactionalWriter(kafka, topic):
        assert values(kafka, topic) == [], "the next owner aborts what the last one left open"


def test_a_failure_while_the_broker_is_away_ends_in_time(kafka, pause, new_topic):
    """Aborting has to wait for the broker, and must not wait for ever."""
    impatient = KafkaConnection(kafka.settings, timeout_s=1)
    topic = new_topic()
    paused_at = []

    def stand_still():
        paused_at.append(time.monotonic())
        pause()

    def fail_without_broker():
        with TransactionalWriter(impatient, topic, transaction_timeout_s=1) as writer:
            fail(writer, OutgoingRecord(topic, None, b"value"), meanwhile=stand_still)

    with pytest.raises(ZeroDivisionError):
        fail_without_broker()

    assert time.monotonic() - paused_at[0] < 5


def test_group_offsets_are_committed_with_the_transaction(kafka, new_topic, new_name):
    topic, group = new_topic(), new_name()

    def group_offset():
        consumer = Consumer({**kafka.settings, "group.id": group})
        try:
            return consumer.committed([TopicPartition(topic, 0)], timeout=10)[0].offset
        finally:
            consumer.close()

    with TransactionalWriter(kafka, topic) as writer, kafka.consumer(group) as consumer:
        with pytest.raises(ZeroDivisionError):
            fail(writer, meanwhile=lambda: writer.send_offsets(consumer, [TopicPartition(topic, 0, 41)]))
        assert group_offset() < 0
        with writer.transaction():
            writer.send_offsets(consumer, [TopicPartition(topic, 0, 42)])

    assert group_offset() == 42


@pytest.mark.long  # a broker of its own
def test_group_offsets_that_no_broker_accepts_fail_in_time(tmp_path):
    """The client itself ignores its timeout and waits for a group's coordinator for ever."""
    impossible = {"offsets.topic.replication.factor": 3}
    with running_cluster(tmp_path, nodes=1, properties=impossible) as cluster:
        impatient = KafkaConnection({"bootstrap.servers": cluster.bootstrap_servers}, timeout_s=3)
        ensure_topics(impatient, [TopicSpec("topic")])
        with impatient.consumer("group") as consumer, TransactionalWriter(impatient, "writer") as writer:
            began = time.monotonic()
            with pytest.raises(BrokerUnavailable) as refusal, writer.transaction():
                writer.send_offsets(consumer, [TopicPartition("topic", 0, 1)])
            assert time.monotonic() - began < 3 + 2

    assert_readable(refusal.value, "writer", "3 s", cluster.bootstrap_servers)
