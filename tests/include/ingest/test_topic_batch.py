"""Records of an external topic are sent exactly once, from every partition, despite kills and gaps between offsets."""

from __future__ import annotations

import pytest

from include.exactly_once.attempt import Attempt
from include.ingest.batch import ingest_batch
from include.ingest.plan import SourceExhausted
from include.ingest.topic import topic_reader
from include.kafka.errors import RangeUnavailable
from include.sources.base import SourceChanged, SourceRefused
from tests.support.administrator import delete_records, recreate_topic
from tests.support.assertions import assert_readable
from tests.support.attempts import ingest_job, kill_at
from tests.support.consumers import committed_records
from tests.support.producers import Record, abort, commit, produce

LABELS = ["a", "b", "c"]


def fill(kafka, topic, numbers, *, write=commit, partition=0):
    """Records as another application writes them, with keys of its own."""
    records = [
        Record(f"text {number}".encode(), b"some key", [("label", LABELS[number % 3].encode()), ("theirs", b"x")])
        for number in numbers
    ]
    write(kafka, topic, records, partition=partition)


@pytest.fixture
def new_topic_pipeline(new_pipeline, new_topic):
    """Makes a pipeline over a topic of two partitions."""

    def make(**source):
        table = {"kind": "topic", "topic": new_topic(2), **source}
        return new_pipeline(format={"kind": "text.utf8", "length": 20}, source=table, topics={"partitions": 2})

    return make


def ingest(kafka, pipeline, batch="first", *, records=100):
    return ingest_batch(Attempt(kafka, pipeline.name, "ingest", "run-1"), pipeline, batch, records=records)


def in_topics(kafka, pipeline):
    """Id to value of both topics, which must have no id twice."""
    topics = (pipeline.samples_topic, pipeline.requests_topic)
    records = [record for topic in topics for record in committed_records(kafka, topic)]
    found = {record.key().decode(): record.value().decode() for record in records}
    assert len(found) == len(records)
    return found


def numbers_in_topics(kafka, pipeline):
    return sorted(int(value.removeprefix("text ")) for value in in_topics(kafka, pipeline).values())


def test_a_sample_is_a_record_as_it_is(kafka, new_topic_pipeline):
    pipeline = new_topic_pipeline()
    topic = pipeline.source.topic
    fill(kafka, topic, [4])
    fill(kafka, topic, [8], partition=1)

    ingest(kafka, pipeline)

    assert in_topics(kafka, pipeline) == {f"{topic}/0/0": "text 4", f"{topic}/1/0": "text 8"}
    for record in committed_records(kafka, pipeline.samples_topic):
        label = LABELS[int(record.value().split()[1]) % 3].encode()
        assert record.headers() == [("schema", b"text.utf8/1"), ("label", label)]


def test_batches_hold_each_record_once_while_partitions_grow_and_offsets_have_gaps(kafka, new_topic_pipeline):
    pipeline = new_topic_pipeline()
    topic = pipeline.source.topic
    fill(kafka, topic, range(7))
    fill(kafka, topic, range(100, 140), write=abort)
    fill(kafka, topic, range(7, 10), partition=1)

    assert ingest(kafka, pipeline, "first", records=6).sent_now == 6
    fill(kafka, topic, range(10, 12))
    fill(kafka, topic, range(12, 15), partition=1)
    fill(kafka, topic, range(200, 210), write=abort, partition=1)
    assert ingest(kafka, pipeline, "second", records=6).sent_now == 6
    assert ingest(kafka, pipeline, "third", records=6).sent_now == 3

    with pytest.raises(SourceExhausted) as reason:
        ingest(kafka, pipeline, "fourth")
    assert_readable(reason.value, pipeline.name, "15 samples")
    assert numbers_in_topics(kafka, pipeline) == list(range(15))


def test_a_short_partition_does_not_wait_for_a_long_one(kafka, new_topic_pipeline):
    pipeline = new_topic_pipeline()
    fill(kafka, pipeline.source.topic, range(50))
    fill(kafka, pipeline.source.topic, [50, 51], partition=1)

    ingest(kafka, pipeline, records=10)

    assert numbers_in_topics(kafka, pipeline) == [*range(8), 50, 51]


@pytest.mark.parametrize(("point", "transaction"), [("after commit", 1), ("before commit", 2), ("after commit", 2)])
def test_a_killed_batch_is_sent_once_though_the_topic_has_grown(kafka, new_topic_pipeline, point, transaction):
    pipeline = new_topic_pipeline()
    topic = pipeline.source.topic
    fill(kafka, topic, range(10))
    fill(kafka, topic, range(10, 15), partition=1)
    kill_at(point, transaction, ingest_job(kafka, pipeline, "first", records=12, chunk=5))
    fill(kafka, topic, range(15, 20))
    fill(kafka, topic, range(20, 25), partition=1)

    first = ingest(kafka, pipeline, "first", records=12)
    second = ingest(kafka, pipeline, "second")

    assert (first.samples + first.requests, second.start, second.samples + second.requests) == (12, 12, 13)
    assert numbers_in_topics(kafka, pipeline) == list(range(25))


def test_records_that_are_no_samples_are_left_out_and_counted(kafka, new_topic_pipeline):
    pipeline = new_topic_pipeline(labels=LABELS)
    share = pipeline.ingest.model_copy(update={"max_refused_share": 1})
    pipeline = pipeline.model_copy(update={"ingest": share})
    unfit = [
        Record(value=None),
        Record(b"a text that is longer than the twenty characters"),
        Record(headers=[("label", b"\xff")]),
        Record(headers=[("label", b"unheard of")]),
    ]
    fill(kafka, pipeline.source.topic, [0])
    produce(kafka, pipeline.source.topic, unfit)
    fill(kafka, pipeline.source.topic, [1])

    assert ingest(kafka, pipeline).refused == len(unfit)

    assert numbers_in_topics(kafka, pipeline) == [0, 1]


def test_headers_of_label_and_group_may_have_any_name(kafka, new_topic_pipeline):
    pipeline = new_topic_pipeline(label_header="class", group_header="speaker")
    produce(kafka, pipeline.source.topic, [Record(headers=[("class", b"b"), ("speaker", b"Ada")])])

    source = pipeline.source.through(reader(kafka, pipeline))

    (sample,) = source.read(0, 10)
    assert (source.count(), sample.label, sample.group) == (1, "b", "Ada")


def reader(kafka, pipeline):
    return topic_reader(pipeline, pipeline.source, kafka)


def test_a_recreated_topic_is_refused(kafka, new_topic_pipeline):
    pipeline = new_topic_pipeline()
    fill(kafka, pipeline.source.topic, range(3))
    ingest(kafka, pipeline)
    recreate_topic(kafka, pipeline.source.topic)
    fill(kafka, pipeline.source.topic, range(3, 9))

    with pytest.raises(SourceChanged) as refusal:
        ingest(kafka, pipeline, "second")

    assert_readable(refusal.value, pipeline.source.topic, "recreated")


def test_records_that_retention_removed_unsent_are_refused_until_accepted(kafka, new_topic_pipeline):
    pipeline = new_topic_pipeline()
    topic = pipeline.source.topic
    fill(kafka, topic, range(3), write=produce)
    ingest(kafka, pipeline)
    fill(kafka, topic, range(3, 9), write=produce)
    delete_records(kafka, topic, 5)

    with pytest.raises(SourceRefused) as refusal:
        ingest(kafka, pipeline, "second")
    assert_readable(refusal.value, f"{topic} partition 0", "offset 3", "begins at 5", "accept_lost")

    accepting = pipeline.model_copy(update={"source": pipeline.source.model_copy(update={"accept_lost": True})})
    ingest(kafka, accepting, "second")
    assert numbers_in_topics(kafka, pipeline) == [0, 1, 2, 5, 6, 7, 8]


@pytest.mark.parametrize(("write", "known"), [(commit, False), (produce, True)])
def test_the_leader_epoch_is_kept_only_where_a_record_lies_right_before_the_position(
    kafka, new_topic_pipeline, write, known
):
    """A marker may have a later epoch, by which the broker would report a truncated log."""
    pipeline = new_topic_pipeline()
    fill(kafka, pipeline.source.topic, range(3), write=write)

    source = pipeline.source.through(reader(kafka, pipeline)).resume(0, {}, 10)

    assert (source.prefix(3)["ranges"][0][-1] == 0) is known


def test_records_that_retention_removes_after_they_were_sent_are_not_lost(kafka, new_topic_pipeline):
    pipeline = new_topic_pipeline()
    fill(kafka, pipeline.source.topic, range(3))
    ingest(kafka, pipeline, records=3)
    delete_records(kafka, pipeline.source.topic, 4)
    fill(kafka, pipeline.source.topic, range(3, 6))

    ingest(kafka, pipeline, "second")

    assert numbers_in_topics(kafka, pipeline) == list(range(6))


def test_a_batch_that_retention_cut_between_its_attempts_is_refused(kafka, new_topic_pipeline):
    pipeline = new_topic_pipeline()
    fill(kafka, pipeline.source.topic, range(9), write=produce)
    kill_at("after commit", 1, ingest_job(kafka, pipeline, "first", records=9, chunk=5))
    delete_records(kafka, pipeline.source.topic, 5)

    with pytest.raises(RangeUnavailable) as refusal:
        ingest(kafka, pipeline, "first")

    assert_readable(refusal.value, pipeline.source.topic, "[0, 9)", "[5, 9)")


def test_a_pipeline_is_not_its_own_source(kafka, new_pipeline, new_name):
    pipeline = new_pipeline(format={"kind": "text.utf8", "length": 20}, source={"kind": "topic", "topic": "other"})
    source = pipeline.source.model_copy(update={"topic": pipeline.samples_topic})

    with pytest.raises(SourceRefused) as refusal:
        ingest(kafka, pipeline.model_copy(update={"source": source}))

    assert_readable(refusal.value, pipeline.samples_topic)


def test_another_topic_does_not_resume_at_the_end_of_the_first(kafka, new_topic_pipeline, new_topic):
    pipeline = new_topic_pipeline()
    fill(kafka, pipeline.source.topic, range(3))
    ingest(kafka, pipeline)
    source = pipeline.source.model_copy(update={"topic": new_topic()})

    with pytest.raises(SourceChanged) as refusal:
        ingest(kafka, pipeline.model_copy(update={"source": source}), "second")

    assert_readable(refusal.value, "first 3 samples")
