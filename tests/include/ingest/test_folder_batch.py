"""A folder of JPEG files is sent file by file; a file that is no sample is left out and logged."""

from __future__ import annotations

import time

import pytest

from include.exactly_once.attempt import Attempt
from include.ingest import chunk
from include.ingest.batch import BatchRefused, ingest_batch
from include.ingest.plan import SourceExhausted
from include.sources import File, Step
from include.sources.base import SourceChanged, SourceRefused
from tests.support.assertions import assert_readable
from tests.support.attempts import ingest_job, kill_at
from tests.support.consumers import committed_records
from tests.support.corpus import saved as image_file
from tests.support.corpus import slope
from tests.support.folders import DAY, LocalFolder

WIDTH, HEIGHT = 24, 16
FORMAT = {"kind": "image.jpeg", "height": HEIGHT, "width": WIDTH, "channels": 3}


def jpeg(number):
    """A file that the codec itself would write in another way: it must not be decoded and encoded again."""
    return image_file(slope("RGB", WIDTH, HEIGHT), "JPEG", quality=50 + number, progressive=True)


@pytest.fixture
def pictures(tmp_path):
    """Thirty pictures of three classes, in the order of their numbers."""
    place = LocalFolder(tmp_path / "pictures")
    for number in range(30):
        place.write(f"{'abc'[number % 3]}/{number:02}.jpg", jpeg(number), second=number)
    return place


@pytest.fixture
def new_folder_pipeline(new_pipeline, pictures):
    def make(**tables):
        source = {"kind": "folder", "path": pictures.path}
        return new_pipeline(**{"format": FORMAT, "source": source, "model": {"kind": "convnet"}, **tables})

    return make


def ingest(kafka, pipeline, batch="2026-01-01", *, records=100):
    return ingest_batch(Attempt(kafka, pipeline.name, "ingest", "run-1"), pipeline, batch, records=records)


def in_topics(kafka, pipeline):
    """Key to value of both topics, which must have no key twice."""
    records = [
        record
        for topic in (pipeline.samples_topic, pipeline.requests_topic)
        for record in committed_records(kafka, topic)
    ]
    values = {record.key().decode(): record.value() for record in records}
    assert len(values) == len(records)
    return values


def expected(numbers=range(30)):
    return {f"{'abc'[number % 3]}/{number:02}.jpg": jpeg(number) for number in numbers}


def between(pictures):
    """The name of a file whose place in the order is before the others'."""
    names = (f"dragon/{number}.jpg" for number in range(1000))
    step = Step(None, (DAY + 29, "c/29.jpg"), 1)
    files = [File(DAY + number, f"{'abc'[number % 3]}/{number:02}.jpg", 1) for number in range(30)]
    return next(name for name in names if step.sequence([*files, File(DAY + 3, name, 1)])[0].name == name)


def logged(caplog):
    return [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]


def test_files_are_sent_as_they_are(kafka, new_folder_pipeline):
    pipeline = new_folder_pipeline()

    result = ingest(kafka, pipeline)

    assert (result.samples + result.requests, result.refused) == (30, 0)
    assert in_topics(kafka, pipeline) == expected()


def test_a_source_that_has_only_files_that_may_still_change_says_so(kafka, new_folder_pipeline, pictures):
    pipeline = new_folder_pipeline()
    pictures.write("a/31.jpg", jpeg(31), second=time.time() - DAY)

    sent = ingest(kafka, pipeline, "before")
    with pytest.raises(SourceExhausted) as waits:
        ingest(kafka, pipeline, "after")

    assert sent.samples + sent.requests == 30
    assert_readable(waits.value, "nothing to send yet", "1 of 31 files", "a/31.jpg", "settle_s = 10 s")


def test_a_sample_has_its_folder_s_name_for_a_label(kafka, new_folder_pipeline):
    pipeline = new_folder_pipeline(ingest={"requests_share": 0.0})
    ingest(kafka, pipeline)

    for record in committed_records(kafka, pipeline.samples_topic):
        assert record.headers() == [("schema", b"image.jpeg/1"), ("label", record.key()[:1])]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("b/cut.jpg", jpeg(1)[:200], "undecodable"),
        ("b/page.jpg", b"<!DOCTYPE html>", "undecodable"),
        ("b/empty.jpg", b"", "empty"),
        ("b/small.jpg", image_file(slope("RGB", 8, 8), "JPEG"), "wrong-size"),
        ("b/gray.jpg", image_file(slope("L", WIDTH, HEIGHT), "JPEG"), "wrong-channels"),
    ],
)
def test_a_file_that_is_no_sample_is_left_out_and_logged(
    kafka, new_folder_pipeline, pictures, caplog, name, content, reason
):
    pipeline = new_folder_pipeline(ingest={"max_refused_share": 0.1})
    pictures.write(name, content, second=4.5)

    result = ingest(kafka, pipeline)

    assert (result.samples + result.requests, result.sent_now, result.refused) == (30, 30, 1)
    assert in_topics(kafka, pipeline) == expected()
    assert len(logged(caplog)) == 1
    assert name in logged(caplog)[0]
    assert reason in logged(caplog)[0]
    assert ingest(kafka, pipeline).refused == 1, "the next attempt knows"


def test_many_bad_files_are_found_wherever_they_are(kafka, new_folder_pipeline, pictures, monkeypatch):
    """Files are decoded in parts, and the positions of each part begin at 0."""
    monkeypatch.setattr(chunk, "DECODED_AT_ONCE", 4)
    pipeline = new_folder_pipeline(ingest={"max_refused_share": 1})
    bad = [0, 3, 4, 11, 29]
    for number in bad:
        pictures.write(f"{'abc'[number % 3]}/{number:02}.jpg", b"bad", second=number)

    assert ingest(kafka, pipeline).refused == len(bad)
    assert in_topics(kafka, pipeline) == expected(number for number in range(30) if number not in bad)


def test_a_folder_of_bad_files_alone_fails(kafka, new_folder_pipeline):
    pipeline = new_folder_pipeline(format={**FORMAT, "width": 8}, ingest={"max_refused_share": 1})

    with pytest.raises(BatchRefused) as refusal:
        ingest(kafka, pipeline)

    assert_readable(refusal.value, "All 30 samples", "image.jpeg", pipeline.name)
    assert in_topics(kafka, pipeline) == {}


def test_a_batch_that_would_leave_out_too_many_is_refused_before_anything_is_planned(
    kafka, new_folder_pipeline, pictures
):
    """A third of a source missing is no success; the same batch goes on once the folder is corrected."""
    pipeline = new_folder_pipeline()
    for number in range(0, 30, 3):
        pictures.write(f"a/{number:02}.jpg", b"bad", second=number)

    with pytest.raises(BatchRefused) as refusal:
        ingest(kafka, pipeline)

    assert_readable(refusal.value, "10 of the 30 samples", pipeline.name, "0.01", "a/", "undecodable")
    assert in_topics(kafka, pipeline) == {}

    for number in range(0, 30, 3):
        pictures.write(f"a/{number:02}.jpg", jpeg(number), second=number)
    assert ingest(kafka, pipeline).sent_now == 30
    assert in_topics(kafka, pipeline) == expected()


def test_too_many_refusals_that_only_sending_finds_fail_the_batch_and_nothing_is_sent_twice(
    kafka, new_folder_pipeline, pictures, monkeypatch
):
    """Of a large batch only some samples are checked first."""
    monkeypatch.setattr("include.ingest.plan.CHECKED_FIRST", 1)
    monkeypatch.setattr("include.ingest.chunk.CHUNK_SAMPLES", 10)
    pipeline = new_folder_pipeline()
    last = [sample.id for sample in pipeline.source.read(20, 10)]
    for name in last[-2:]:
        pictures.write(name, b"bad", second=int(name[2:4]))

    for _ in range(2):
        with pytest.raises(BatchRefused) as refusal:
            ingest(kafka, pipeline)
        assert_readable(refusal.value, "2 of the 30 samples", "20 of it were sent", "max_refused_share")
        assert len(in_topics(kafka, pipeline)) == 20

    raised = pipeline.ingest.model_copy(update={"max_refused_share": 0.1})
    result = ingest(kafka, pipeline.model_copy(update={"ingest": raised}))
    assert (result.sent_now, result.refused) == (8, 2)
    assert sorted(in_topics(kafka, pipeline)) == sorted(set(expected()) - set(last[-2:]))


def test_a_label_that_the_pipeline_does_not_know_is_refused_before_anything_is_sent(
    kafka, new_folder_pipeline, pictures
):
    pipeline = new_folder_pipeline()
    pictures.write("dragon/1.jpg", jpeg(1), second=100)

    with pytest.raises(SourceRefused) as refusal:
        ingest(kafka, pipeline)
    assert_readable(refusal.value, "dragon/1.jpg", "'dragon'", f"{pipeline.name}.toml", "a, b, c")
    assert in_topics(kafka, pipeline) == {}

    pictures.remove("dragon/1.jpg")
    assert ingest(kafka, pipeline).start == 0, "the same batch goes on once the folder is mended"


def test_batches_follow_a_growing_folder(kafka, new_folder_pipeline, pictures):
    pipeline = new_folder_pipeline()
    assert ingest(kafka, pipeline, "first").start == 0
    with pytest.raises(SourceExhausted):
        ingest(kafka, pipeline, "second")

    pictures.write("a/30.jpg", jpeg(30), second=40)

    assert ingest(kafka, pipeline, "second").start == 30
    assert in_topics(kafka, pipeline) == expected(range(31))


def test_a_file_inserted_among_sent_ones_is_refused(kafka, new_folder_pipeline, pictures):
    pipeline = new_folder_pipeline()
    ingest(kafka, pipeline, "first", records=30)
    pictures.write("a/30.jpg", jpeg(30), second=3)

    with pytest.raises(SourceChanged) as refusal:
        ingest(kafka, pipeline, "second")
    assert_readable(refusal.value, "a/30.jpg", pictures.path, "touch")

    pictures.write("a/30.jpg", jpeg(30), second=50)
    ingest(kafka, pipeline, "second")
    assert in_topics(kafka, pipeline) == expected(range(31))


def test_a_file_inserted_into_a_killed_batch_is_named(kafka, new_folder_pipeline, pictures):
    pipeline = new_folder_pipeline()
    kill_at("after commit", 2, ingest_job(kafka, pipeline, "first", records=30, chunk=10))
    name = between(pictures)
    pictures.write(name, jpeg(30), second=3)

    with pytest.raises(SourceChanged) as refusal:
        ingest(kafka, pipeline, "first")
    assert_readable(refusal.value, name, pictures.path, "touch")

    pictures.write(name, jpeg(30), second=50)
    assert ingest(kafka, pipeline, "first").sent_now == 20
    assert in_topics(kafka, pipeline) == expected()


def test_a_file_that_changed_under_a_batch_is_refused(kafka, new_folder_pipeline, pictures):
    pipeline = new_folder_pipeline()
    kill_at("after commit", 1, ingest_job(kafka, pipeline, "2026-01-01", records=30, chunk=10))
    before = in_topics(kafka, pipeline)
    pictures.write("b/01.jpg", jpeg(40), second=1)

    with pytest.raises(SourceChanged) as refusal:
        ingest(kafka, pipeline)

    assert_readable(refusal.value, pipeline.name, "samples 0 to 30")
    assert in_topics(kafka, pipeline) == before


@pytest.mark.parametrize(("point", "transaction"), [("after commit", 1), ("before commit", 2), ("after commit", 3)])
def test_a_killed_batch_is_sent_once_though_the_folder_grows(kafka, new_folder_pipeline, pictures, point, transaction):
    pipeline = new_folder_pipeline(ingest={"max_refused_share": 0.1})
    pictures.write("c/bad.jpg", b"bad", second=14.5)
    kill_at(point, transaction, ingest_job(kafka, pipeline, "first", records=25, chunk=10))
    pictures.write("a/30.jpg", jpeg(30), second=100)

    first = ingest(kafka, pipeline, "first")
    second = ingest(kafka, pipeline, "second", records=6)
    third = ingest(kafka, pipeline, "third")

    assert first.samples + first.requests + first.refused == 25
    assert (second.start, third.start, third.sent_now) == (25, 31, 1)
    assert in_topics(kafka, pipeline) == expected(range(31))


def test_a_batch_is_sent_in_parts_that_fit_into_memory(kafka, new_folder_pipeline, monkeypatch):
    monkeypatch.setattr("include.sources._files.READ_BYTES", 3000)
    pipeline = new_folder_pipeline()

    assert ingest(kafka, pipeline).sent_now == 30
    assert in_topics(kafka, pipeline) == expected()


def test_a_sent_batch_no_longer_needs_its_folder(kafka, new_folder_pipeline, pictures, tmp_path):
    pipeline = new_folder_pipeline()
    ingest(kafka, pipeline)
    pictures.folder.rename(tmp_path / "elsewhere")

    assert ingest(kafka, pipeline).sent_now == 0
