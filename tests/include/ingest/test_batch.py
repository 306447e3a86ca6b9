"""A batch is in the topics exactly once, after any number of attempts that ended in any state."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier, Event
from typing import Literal

import numpy as np
import pytest

from include.codecs.raw import RawCodec
from include.errors import Stopped
from include.exactly_once.attempt import Attempt
from include.exactly_once.transaction import TransactionalWriter
from include.ingest import chunk, plan
from include.ingest.batch import BatchRefused, ingest_batch
from include.ingest.chunk import is_request
from include.ingest.plan import ConcurrentPlan, SourceExhausted
from include.kafka.errors import BrokerUnavailable, TopicMissing
from include.kafka.signing import InvalidSigningKeys
from include.sources.base import SourceChanged
from tests.support.assertions import assert_readable
from tests.support.attempts import ingest_job, kill_at
from tests.support.consumers import committed_records, log_ends
from tests.support.producers import NOW_MS, Record
from tests.support.recorded_metrics import RecordedMetrics
from tests.support.signed_records import KEYS, signature
from tests.support.tiny_pipelines import SCHEMA, Numbers, letter, numbers, sample_id, tiny_pipeline


def ingest(kafka, pipeline, batch="2026-01-01", *, records=40, run="run-1", **arguments):
    return ingest_batch(Attempt(kafka, pipeline.name, "ingest", run, **arguments), pipeline, batch, records=records)


def in_topics(kafka, pipeline):
    """The records of both topics, as any other application finds them."""
    return committed_records(kafka, pipeline.samples_topic), committed_records(kafka, pipeline.requests_topic)


def ids_in_topics(kafka, pipeline):
    samples, requests = in_topics(kafka, pipeline)
    return sorted(record.key().decode() for record in samples + requests)


def ids(start, end):
    return [sample_id(position) for position in range(start, end)]


@pytest.fixture
def chunks_of_ten(monkeypatch):
    monkeypatch.setattr(chunk, "CHUNK_SAMPLES", 10)


def test_a_batch_is_divided_into_samples_and_requests(kafka, new_pipeline):
    pipeline = new_pipeline()

    result = ingest(kafka, pipeline)

    samples, requests = in_topics(kafka, pipeline)
    assert (result.samples, result.requests, result.sent_now) == (len(samples), len(requests), 40)
    assert sorted(record.key().decode() for record in samples + requests) == ids(0, 40)
    assert result.requests > 0


def test_a_sample_s_record_is_as_documented(kafka, new_pipeline):
    pipeline = new_pipeline()
    ingest(kafka, pipeline)

    record = committed_records(kafka, pipeline.samples_topic)[0]

    position = int(record.key().decode().removeprefix("number-"))
    assert record.value() == numbers(position).tobytes()
    assert record.headers() == [("schema", SCHEMA), ("label", letter(numbers(position)).encode())]
    assert NOW_MS <= record.timestamp()[1] <= time.time() * 1000


def test_a_request_has_no_label(kafka, new_pipeline):
    pipeline = new_pipeline()
    ingest(kafka, pipeline)

    for record in committed_records(kafka, pipeline.requests_topic):
        assert record.headers() == [("schema", SCHEMA)]


def test_records_of_a_signed_pipeline_are_signed(kafka, new_pipeline):
    pipeline = new_pipeline(signing={"connection": "keys"})
    ingest(replace(kafka, signing=KEYS), pipeline)

    samples, requests = in_topics(kafka, pipeline)
    assert samples
    assert requests
    for record in samples + requests:
        plain = Record(record.value(), record.key(), record.headers())
        assert record.headers()[-1] == ("signature", signature(plain))


def test_records_of_an_unsigned_pipeline_are_not_signed(kafka, new_pipeline):
    pipeline = new_pipeline()
    ingest(replace(kafka, signing=KEYS), pipeline)

    samples, requests = in_topics(kafka, pipeline)
    assert not any("signature" in dict(record.headers()) for record in samples + requests)


def test_without_a_key_nothing_is_sent_unsigned(kafka, new_pipeline):
    pipeline = new_pipeline(signing={"connection": "keys"})

    with pytest.raises(InvalidSigningKeys):
        ingest(kafka, pipeline)

    assert ids_in_topics(kafka, pipeline) == []


def test_a_group_is_sent_in_its_header(kafka, new_pipeline, monkeypatch):
    pipeline = new_pipeline(ingest={"requests_share": 0.0})
    read = Numbers.read

    def grouped(source, start, count):
        return [type(s)(s.id, s.content, s.label, group="voice-1") for s in read(source, start, count)]

    monkeypatch.setattr(Numbers, "read", grouped)
    ingest(kafka, pipeline, records=1)

    assert dict(committed_records(kafka, pipeline.samples_topic)[0].headers())["group"] == b"voice-1"


def test_all_samples_of_a_group_are_requests_or_none_is(kafka, new_pipeline, monkeypatch):
    pipeline = new_pipeline(ingest={"requests_share": 0.3, "requests_by": "group"})
    read = Numbers.read

    def grouped(source, start, count):
        samples = read(source, start, count)
        return [replace(sample, group=f"voice-{int(sample.id[-4:]) % 8}") for sample in samples[:-1]] + samples[-1:]

    monkeypatch.setattr(Numbers, "read", grouped)
    ingest(kafka, pipeline)

    in_samples, in_requests = (
        {dict(record.headers()).get("group") for record in records} for records in in_topics(kafka, pipeline)
    )
    assert in_samples & in_requests <= {None}
    assert in_requests == {f"voice-{number}".encode() for number in range(8) if is_request(f"voice-{number}", 0.3)} | (
        {None} if is_request(sample_id(39), 0.3) else set()
    )
    assert len(in_requests) > 0


@pytest.mark.parametrize("share", [0.1, 0.0])
def test_samples_without_a_label_are_requests_where_there_are_any(kafka, new_pipeline, monkeypatch, share):
    """In the topic of samples a training would refuse them."""
    pipeline = new_pipeline(ingest={"requests_share": share})
    read, unlabelled = Numbers.read, {sample_id(position) for position in (3, 7, 18)}

    def some_unlabelled(source, start, count):
        samples = read(source, start, count)
        return [replace(sample, label=None) if sample.id in unlabelled else sample for sample in samples]

    monkeypatch.setattr(Numbers, "read", some_unlabelled)
    ingest(kafka, pipeline)

    in_samples, in_requests = ({record.key().decode() for record in records} for records in in_topics(kafka, pipeline))
    assert len(in_samples | in_requests) == 40
    drawn = {sample_id(position) for position in range(40) if is_request(sample_id(position), share)}
    assert in_requests == (drawn | unlabelled if share else set())


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_the_share_of_requests_is_near_the_one_asked_for(share):
    requests = np.mean([is_request(sample_id(position), share) for position in range(5000)])

    assert requests == pytest.approx(share, abs=4 * (share * (1 - share) / 5000) ** 0.5)


def test_what_is_a_request_stays_one():
    """A sample that changed sides with a release would first be learnt from and then be predicted."""
    requests = [position for position in range(60) if is_request(sample_id(position), 0.1)]

    assert requests == KNOWN_REQUESTS


KNOWN_REQUESTS = [1, 18, 33, 40, 50]


def test_a_larger_share_keeps_the_requests_there_were():
    few, many = ({p for p in range(1000) if is_request(sample_id(p), share)} for share in (0.1, 0.2))

    assert few < many


def test_the_same_batch_again_sends_nothing(kafka, new_pipeline):
    pipeline = new_pipeline()
    first = ingest(kafka, pipeline, run="run-1")
    before = ids_in_topics(kafka, pipeline)

    again = ingest(kafka, pipeline, run="run-2")

    assert ids_in_topics(kafka, pipeline) == before
    assert (again.start, again.samples, again.requests) == (first.start, first.samples, first.requests)
    assert again.sent_now == 0


def test_a_batch_keeps_the_run_that_planned_it(kafka, new_pipeline):
    pipeline = new_pipeline()

    runs = [ingest(kafka, pipeline, run=run).same_run for run in ("run-1", "run-1", "run-2")]

    assert runs == [True, True, False]


def test_batches_follow_each_other(kafka, new_pipeline):
    pipeline = new_pipeline(total=100)

    starts = [ingest(kafka, pipeline, batch, records=40).start for batch in ("first", "second", "third")]

    assert starts == [0, 40, 80]
    assert ids_in_topics(kafka, pipeline) == ids(0, 100)


def test_a_batch_keeps_its_range_whatever_is_asked_for_later(kafka, new_pipeline):
    pipeline = new_pipeline()
    ingest(kafka, pipeline, "first", records=10)
    ingest(kafka, pipeline, "second", records=10)

    ingest(kafka, pipeline, "first", records=50)

    assert ids_in_topics(kafka, pipeline) == ids(0, 20)


def test_a_source_with_nothing_left_is_an_error(kafka, new_pipeline):
    pipeline = new_pipeline(total=30)
    ingest(kafka, pipeline, "first")

    with pytest.raises(SourceExhausted) as refusal:
        ingest(kafka, pipeline, "second")

    assert_readable(refusal.value, pipeline.name, "30 samples")
    assert ids_in_topics(kafka, pipeline) == ids(0, 30)


def test_a_source_that_has_grown_goes_on(kafka, new_pipeline):
    pipeline = new_pipeline(total=30)
    ingest(kafka, pipeline, "first")
    grown = pipeline.model_copy(update={"source": Numbers(total=50)})

    assert ingest(kafka, grown, "second").start == 30
    assert ids_in_topics(kafka, pipeline) == ids(0, 50)


@pytest.mark.usefixtures("chunks_of_ten")
def test_a_stop_between_chunks_leaves_whole_chunks(kafka, new_pipeline):
    pipeline = new_pipeline()
    stops = iter([False, False, False, False, True])  # before each chunk, and before it is committed

    with pytest.raises(Stopped) as stop:
        ingest(kafka, pipeline, stopped=lambda: next(stops))

    assert_readable(stop.value, "20 of 40 samples")
    assert ids_in_topics(kafka, pipeline) == ids(0, 20)
    assert ingest(kafka, pipeline).sent_now == 20
    assert ids_in_topics(kafka, pipeline) == ids(0, 40)


@pytest.mark.parametrize(
    ("point", "transaction"),
    [
        ("before commit", 1),
        ("after commit", 1),
        ("before begin", 2),
        ("before commit", 2),
        ("after commit", 2),
        ("before commit", 3),
    ],
    ids=str,
)
def test_a_batch_survives_a_kill(kafka, new_pipeline, point, transaction):
    """The first transaction fixes the range, each one after it sends a chunk."""
    pipeline = new_pipeline()
    kill_at(point, transaction, ingest_job(kafka, pipeline, "2026-01-01", records=40, chunk=30))
    lost = sum(sum(log_ends(kafka, topic, [0]).values()) for topic in (pipeline.samples_topic, pipeline.requests_topic))
    if transaction > 1 and point != "before begin":
        assert lost >= 30, "the killed attempt's records lie in the log"

    began = time.monotonic()
    result = ingest(kafka, pipeline)

    assert time.monotonic() - began < 30, "the broker aborts a dead transaction after 60 s"
    assert ids_in_topics(kafka, pipeline) == ids(0, 40)
    assert result.samples + result.requests == 40
    assert ingest(kafka, pipeline).sent_now == 0


def test_a_kill_between_batches_leaves_no_gap(kafka, new_pipeline):
    """A range that was fixed and never sent belongs to its batch, and the next batch begins behind it."""
    pipeline = new_pipeline()
    kill_at("after commit", 1, ingest_job(kafka, pipeline, "first", records=40, chunk=30))

    assert ingest(kafka, pipeline, "second").start == 40
    assert ingest(kafka, pipeline, "first").start == 0
    assert ids_in_topics(kafka, pipeline) == ids(0, 80)


def test_batches_that_are_planned_at_once_share_no_sample(kafka, new_pipeline):
    pipeline = new_pipeline(total=100)
    together = Barrier(2)

    def attempt(batch):
        together.wait(10)
        for _ in range(20):
            try:
                return ingest(kafka, pipeline, batch, records=10)
            except ConcurrentPlan as lost:
                assert_readable(lost, batch, pipeline.name)
        raise AssertionError(f"{batch} was never planned")

    with ThreadPoolExecutor(2) as threads:
        results = list(threads.map(attempt, ["first", "second"]))

    assert sorted(result.start for result in results) == [0, 10]
    assert ids_in_topics(kafka, pipeline) == ids(0, 20)


def test_a_plan_that_another_batch_overtakes_is_retried(kafka, new_pipeline, monkeypatch):
    """Its task may retry: another batch was planned first, no newer attempt has replaced it."""
    pipeline = new_pipeline()
    planned, overtaken = Event(), Event()
    fingerprint = plan.fingerprint

    def slow(samples):
        if not planned.is_set():
            planned.set()
            assert overtaken.wait(20)
        return fingerprint(samples)

    monkeypatch.setattr(plan, "fingerprint", slow)
    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(ingest, kafka, pipeline, "first")
        assert planned.wait(20)
        assert ingest(kafka, pipeline, "second").start == 0
        overtaken.set()
        with pytest.raises(ConcurrentPlan) as refusal:
            first.result(20)

    assert_readable(refusal.value, "first", pipeline.name)
    assert ingest(kafka, pipeline, "first").start == 40


@pytest.mark.usefixtures("chunks_of_ten")
def test_a_source_that_changed_under_a_batch_is_refused(kafka, new_pipeline):
    pipeline = new_pipeline()
    stops = iter([False, False, True])  # before each chunk, and before it is committed
    with pytest.raises(Stopped):
        ingest(kafka, pipeline, stopped=lambda: next(stops))
    changed = pipeline.model_copy(update={"source": Numbers(total=100, shift=1)})

    with pytest.raises(SourceChanged) as refusal:
        ingest(kafka, changed)

    assert_readable(refusal.value, pipeline.name, "2026-01-01", "samples 0 to 40")
    assert ids_in_topics(kafka, pipeline) == ids(0, 10)


def test_a_source_that_shrank_under_a_batch_is_refused(kafka, new_pipeline):
    pipeline = new_pipeline()
    with pytest.raises(Stopped):
        ingest(kafka, pipeline, stopped=lambda: True)
    shrunk = pipeline.model_copy(update={"source": Numbers(total=20)})

    with pytest.raises(SourceChanged):
        ingest(kafka, shrunk)

    assert ids_in_topics(kafka, pipeline) == []


def test_a_source_may_change_after_its_batch_is_sent(kafka, new_pipeline):
    pipeline = new_pipeline()
    ingest(kafka, pipeline)
    changed = pipeline.model_copy(update={"source": Numbers(total=100, shift=1)})

    assert ingest(kafka, changed).sent_now == 0


class Wide(Numbers):
    """Every `each`-th sample has 1,200 bytes, too many for a topic whose limit is 1,024."""

    each: int = 1

    def read(self, start, count):
        return [
            replace(sample, content=np.tile(sample.content, 75)) if position % self.each == 0 else sample
            for position, sample in enumerate(super().read(start, count), start)
        ]


class Grouped(Numbers):
    """The second sample has a group that is longer than readers accept."""

    kind: Literal["grouped"] = "grouped"

    def read(self, start, count):
        return [
            replace(sample, group="é" * 512 + "x" if position == 1 else "é" * 512)
            for position, sample in enumerate(super().read(start, count), start)
        ]


class AnyLength(RawCodec):
    """Arrays of any length, to have some that are too long."""

    kind: Literal["tensor.any"] = "tensor.any"

    def encode(self, sample):
        return sample.tobytes()


@pytest.fixture
def wide(new_pipeline):
    """Makes a pipeline in which every `each`-th sample is too large for its topic."""

    def make(each):
        topics = {"partitions": 1, "max_record_bytes": 1024}
        pipeline = new_pipeline(topics=topics, ingest={"requests_share": 0.2, "max_refused_share": 1})
        return pipeline.model_copy(
            update={"format": AnyLength(shape=(4,), dtype="float32"), "source": Wide(total=40, each=each)}
        )

    return make


def test_a_sample_that_its_topic_would_refuse_is_left_out_and_logged(kafka, wide, caplog):
    pipeline = wide(each=10)

    result = ingest(kafka, pipeline)

    assert (result.refused, result.sent_now, result.samples + result.requests) == (4, 36, 36)
    assert ids_in_topics(kafka, pipeline) == sorted(sample_id(n) for n in range(40) if n % 10)
    warnings = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert len(warnings) == 4
    assert_readable(ValueError(warnings[0]), "1024 bytes", sample_id(0), pipeline.name, "max.message.bytes")


def test_a_sample_whose_group_readers_would_refuse_is_left_out_and_logged(kafka, new_pipeline, caplog):
    pipeline = new_pipeline(ingest={"max_refused_share": 1}).model_copy(update={"source": Grouped(total=3)})

    result = ingest(kafka, pipeline)

    assert (result.refused, result.sent_now) == (1, 2)
    warnings = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert_readable(ValueError(warnings[0]), "1025 bytes", "group", "1024", sample_id(1))


def test_what_was_left_out_is_known_to_the_next_attempt(kafka, wide):
    pipeline = wide(each=10)
    ingest(kafka, pipeline)

    again = ingest(kafka, pipeline)

    assert (again.refused, again.sent_now, again.samples + again.requests) == (4, 0, 36)


def test_a_batch_of_samples_that_are_all_too_large_fails(kafka, wide):
    pipeline = wide(each=1)

    for _ in range(2):
        with pytest.raises(BatchRefused) as refusal:
            ingest(kafka, pipeline)

    assert_readable(refusal.value, "All 40 samples", "1024 bytes", pipeline.name, "max.message.bytes")
    assert ids_in_topics(kafka, pipeline) == []


def test_missing_topics_are_refused(kafka, new_name, new_pipeline):
    new_pipeline()  # the ledger is there
    pipeline = tiny_pipeline(new_name())

    with pytest.raises(TopicMissing) as refusal:
        ingest(kafka, pipeline)

    assert_readable(refusal.value, pipeline.name)


def test_without_a_broker_it_fails(no_broker, new_name):
    with pytest.raises(BrokerUnavailable) as refusal:
        ingest(no_broker, tiny_pipeline(new_name()))

    assert_readable(refusal.value, no_broker.bootstrap_servers)


def test_a_batch_s_zombie_cannot_send(kafka, new_pipeline, monkeypatch):
    """The old attempt halts before its commit while the new one takes over and sends everything."""
    pipeline = new_pipeline()
    standing, over = Event(), Event()
    commit = TransactionalWriter._commit

    def waiting(writer):
        if writer.transactional_id.endswith("2026-01-01") and not standing.is_set():
            writer._producer.flush(10)
            standing.set()
            assert over.wait(20)
        commit(writer)

    monkeypatch.setattr(TransactionalWriter, "_commit", waiting)
    with ThreadPoolExecutor(1) as thread:
        zombie = thread.submit(ingest, kafka, pipeline)
        assert standing.wait(20)
        assert ingest(kafka, pipeline).sent_now == 40
        over.set()
        with pytest.raises(Exception, match="has taken over"):
            zombie.result(20)

    assert ids_in_topics(kafka, pipeline) == ids(0, 40)


def test_what_was_sent_is_counted(kafka, new_pipeline):
    pipeline = new_pipeline()
    metrics = RecordedMetrics()

    ingest(kafka, pipeline, metrics=metrics)

    assert metrics.counted == {f"{pipeline.name}.ingested": 40, f"{pipeline.name}.refused": 0}


@pytest.mark.usefixtures("chunks_of_ten")
def test_what_a_failed_attempt_sent_is_counted_once(kafka, new_pipeline):
    pipeline = new_pipeline()
    metrics = RecordedMetrics()
    stops = iter([False, False, True])  # before each chunk, and before it is committed
    with pytest.raises(Stopped):
        ingest(kafka, pipeline, metrics=metrics, stopped=lambda: next(stops))
    assert metrics.counted == {f"{pipeline.name}.ingested": 10, f"{pipeline.name}.refused": 0}

    ingest(kafka, pipeline, metrics=metrics)

    assert metrics.counted == {f"{pipeline.name}.ingested": 40, f"{pipeline.name}.refused": 0}
