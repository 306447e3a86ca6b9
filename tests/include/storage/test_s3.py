"""Sources over S3: the same samples as from a disk, and every trouble as one sentence."""

from __future__ import annotations

import socket

import pytest

from include.sources.base import SourceChanged, SourceRefused, SourceUnreachable
from include.sources.folder import FolderSource
from include.sources.table import TableSource
from include.storage import s3 as object_storage
from tests.support.assertions import assert_readable
from tests.support.s3 import answering
from tests.support.tables import ENDINGS, table

ODD_NAMES = ["cat/a b.png", "cat/[1].png", "dog/50%#?.png", "dog/é+.png"]
ROWS = [{"text": f"text {number}", "letter": "ab"[number % 2]} for number in range(60)]


def folder(bucket, **settings):
    # What the tests have just written counts at once.
    source = FolderSource(path=f"{bucket.path}/pets", connection="aws_default", settle_s=0)
    return source.on(bucket.filesystem(**settings))


@pytest.fixture
def pets(bucket):
    for name in ODD_NAMES:
        bucket.write(f"pets/{name}", name.encode())
    return bucket


def test_a_folder_of_objects_is_read_as_a_folder_of_files(pets):
    source = folder(pets)

    samples = source.read(0, source.count())

    assert {sample.id: sample.content.decode() for sample in samples} == {name: name for name in ODD_NAMES}
    assert {sample.label for sample in samples} == {"cat", "dog"}


def test_a_new_object_takes_the_next_position(pets):
    source = folder(pets)
    before, prefix = [sample.id for sample in source.read(0, 100)], source.prefix(source.count())

    pets.write("pets/dog/ö.png")

    grown = source.open()
    grown.check_prefix(4, prefix)
    assert [sample.id for sample in grown.read(0, 100)] == [*before, "dog/ö.png"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_table_is_read_from_any_row(bucket, ending):
    bucket.write(f"rows.{ending}", table(ending, ROWS))
    source = TableSource(path=f"{bucket.path}/rows.{ending}", content="text", label="letter", settle_s=0)
    source = source.on(bucket.filesystem())

    assert source.count() == 60
    assert [sample.content for sample in source.read(58, 10)] == [b"text 58", b"text 59"]


def test_a_table_names_objects_beside_it(bucket):
    bucket.write("set/rows.csv", b"file,letter\npictures/1.png,a\npictures/2.png,b\n")
    bucket.write("set/pictures/1.png", b"one")
    bucket.write("set/pictures/2.png", b"two")
    source = TableSource(path=f"{bucket.path}/set", content="file", content_is="path", label="letter", settle_s=0)

    source = source.on(bucket.filesystem())

    assert [(sample.content, sample.label) for sample in source.read(0, 9)] == [(b"one", "a"), (b"two", "b")]


def test_an_object_that_vanishes_after_the_listing_is_named(pets):
    source = folder(pets)
    assert source.count() == 4

    pets.remove("pets/cat/[1].png")

    with pytest.raises(SourceChanged) as refusal:
        source.read(0, 4)
    assert_readable(refusal.value, "pets/cat/[1].png")


@pytest.mark.parametrize("path", ["s3://no-such-bucket/pets", "{bucket}/nothing"])
def test_a_bucket_or_folder_that_is_not_there_is_refused(bucket, path):
    source = FolderSource(path=path.format(bucket=bucket.path)).on(bucket.filesystem())

    with pytest.raises(SourceRefused) as refusal:
        source.count()
    assert_readable(refusal.value, "does not exist", path.rpartition("/")[2])


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        ("403 Forbidden", "AccessDenied", "ACCESS_DENIED"),
        ("403 Forbidden", "InvalidAccessKeyId", "INVALID_ACCESS_KEY_ID"),
        ("403 Forbidden", "SignatureDoesNotMatch", "SIGNATURE_DOES_NOT_MATCH"),
        ("403 Forbidden", "ExpiredToken", "ExpiredToken"),
        ("301 Moved Permanently", "PermanentRedirect", "region"),
    ],
)
def test_what_no_retry_mends_is_refused_for_good(bucket, status, code, expected):
    with answering(status, code) as endpoint, pytest.raises(SourceRefused) as refusal:
        folder(bucket, endpoint_override=endpoint).count()

    assert_readable(refusal.value, "pets", expected, "connection of [source]")


@pytest.mark.parametrize(("status", "code"), [("503 Slow Down", "SlowDown"), ("500 Server Error", "InternalError")])
def test_what_may_pass_is_left_to_a_retry(bucket, monkeypatch, status, code):
    monkeypatch.setattr(object_storage, "ATTEMPTS", 1)

    with answering(status, code) as endpoint, pytest.raises(SourceUnreachable) as error:
        folder(bucket, endpoint_override=endpoint).count()

    assert_readable(error.value, "pets")


@pytest.mark.parametrize("backlog", [0, 10], ids=["nobody listens", "nobody answers"])
def test_a_storage_that_does_not_answer_is_given_up(bucket, monkeypatch, backlog):
    monkeypatch.setattr(object_storage, "SILENT_S", 1)
    monkeypatch.setattr(object_storage, "ATTEMPTS", 1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if backlog:
            silent.listen(backlog)
        with pytest.raises(SourceUnreachable) as error:
            folder(bucket, endpoint_override=f"http://127.0.0.1:{silent.getsockname()[1]}").count()

    assert_readable(error.value, "pets")


def test_a_connection_that_no_task_has_resolved_is_refused():
    with pytest.raises(SourceRefused) as refusal:
        FolderSource(path="s3://bucket/pets", connection="aws_default").count()

    assert_readable(refusal.value, "s3://bucket/pets", "'aws_default'")


def test_a_url_without_a_connection_says_what_is_missing():
    with pytest.raises(SourceRefused) as refusal:
        FolderSource(path="s3://bucket/pets").count()

    assert_readable(refusal.value, "s3://bucket/pets", "connection in [source]")
