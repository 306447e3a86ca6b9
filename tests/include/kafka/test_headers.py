"""The headers of a record, written and read."""

from __future__ import annotations

import pytest

from include.kafka.headers import RecordHeaders, read_headers, write_headers


def test_headers_are_read_as_they_were_written():
    headers = tuple(write_headers("image.png/1", label="7", group="writer-3"))

    assert read_headers(headers) == RecordHeaders("image.png/1", "7", b"writer-3")


def test_absent_headers_are_not_written():
    assert write_headers("image.png/1") == [("schema", b"image.png/1")]
    assert read_headers(()) == RecordHeaders(None, None, None)


def test_an_empty_label_is_a_label():
    assert read_headers(tuple(write_headers("image.png/1", label=""))).label == ""


def test_headers_of_other_applications_may_have_any_number_and_size():
    others = [("trace", b"x" * 1_000_000), ("trace", b"y"), ("", None), ("dead-letter-reason", b"empty")]

    assert read_headers((*write_headers("image.png/1"), *others)) == RecordHeaders("image.png/1")


def test_a_repeated_header_with_equal_contents_is_one_header():
    assert read_headers((("label", b"1"), ("label", b"1"))) == RecordHeaders(label="1")


@pytest.mark.parametrize("name", ["schema", "label", "group"])
@pytest.mark.parametrize(
    ("contents", "reason", "named"),
    [
        ([b"1", b"2"], "duplicate-header", "twice"),
        ([b"1", None], "duplicate-header", "twice"),
        ([b"1" * 1025], "header-too-long", "1025 bytes"),
        ([b"1", b"1" * 10_000_000], "header-too-long", "10000000 bytes"),
    ],
    ids=["twice", "with and without", "too long", "far too long"],
)
def test_ambiguous_or_too_long_headers_are_refused(name, contents, reason, named):
    headers = read_headers((("trace", b"x"), *((name, content) for content in contents)))

    assert (headers.schema, headers.label, headers.group) == (None, None, None)
    refusal = headers.refusal_for("image.png/1")
    assert refusal.reason == reason
    assert named in refusal.error
    assert name in refusal.error
    assert len(refusal.error) < 1024


@pytest.mark.parametrize(
    ("headers", "reason"),
    [((), "no-schema"), ((("schema", None),), "no-schema"), ((("schema", b"image.png/2"),), "wrong-schema")],
    ids=["no header", "no content", "another"],
)
def test_a_record_without_the_schema_is_refused(headers, reason):
    refusal = read_headers(headers).refusal_for("image.png/1")

    assert refusal.reason == reason
    assert "image.png/1" in refusal.error


def test_a_record_of_the_schema_is_not_refused():
    assert read_headers((("schema", b"image.png/1"),)).refusal_for("image.png/1") is None


def test_a_header_that_is_not_utf8_is_read_with_replacements():
    assert read_headers((("schema", b"\xff"), ("label", None))) == RecordHeaders("�", None, None)
