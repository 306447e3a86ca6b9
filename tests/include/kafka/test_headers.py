"""Headers, addresses and dead letters: what travels beside a value."""

from __future__ import annotations

import pytest
from confluent_kafka import Message

from include.kafka.dead_letters import ERROR_TEXT_BYTES, EXTRA_BYTES, dead_letter
from include.kafka.headers import (
    Address,
    OutgoingRecord,
    RecordHeaders,
    address_of,
    read_headers,
    write_headers,
)
from include.refusal import Refusal

HEADERS = [("schema", b"image.png/1")]
EXPLANATION = [f"dead-letter-{name}" for name in ("reason", "error", "address", "run", "timestamp")]


def message(**fields):
    return Message(**{"topic": "shoes.requests", "partition": 2, "offset": 17, **fields})


def test_headers_are_read_as_they_were_written():
    headers = tuple(write_headers("image.png/1", label="7", group="writer-3"))

    assert read_headers(headers) == RecordHeaders("image.png/1", "7", b"writer-3")


def test_headers_that_are_not_known_are_not_written():
    assert write_headers("image.png/1") == [("schema", b"image.png/1")]
    assert read_headers(()) == RecordHeaders(None, None, None)


def test_an_empty_label_is_a_label():
    assert read_headers(tuple(write_headers("image.png/1", label=""))).label == ""


def test_headers_of_others_may_be_of_any_number_and_size():
    others = [("trace", b"x" * 1_000_000), ("trace", b"y"), ("", None), ("dead-letter-reason", b"empty")]

    assert read_headers((*write_headers("image.png/1"), *others)) == RecordHeaders("image.png/1")


def test_a_header_that_is_there_twice_with_one_content_is_one():
    assert read_headers((("label", b"1"), ("label", b"1"))) == RecordHeaders(label="1")


@pytest.mark.parametrize("name", ["schema", "label", "group"])
@pytest.mark.parametrize(
    ("contents", "reason", "told"),
    [
        ([b"1", b"2"], "duplicate-header", "twice"),
        ([b"1", None], "duplicate-header", "twice"),
        ([b"1" * 1025], "header-too-long", "1025 bytes"),
        ([b"1", b"1" * 10_000_000], "header-too-long", "10000000 bytes"),
    ],
    ids=["twice", "with and without", "too long", "far too long"],
)
def test_headers_that_can_t_be_relied_on_are_refused(name, contents, reason, told):
    headers = read_headers((("trace", b"x"), *((name, content) for content in contents)))

    assert (headers.schema, headers.label, headers.group) == (None, None, None)
    refusal = headers.refusal_for("image.png/1")
    assert refusal.reason == reason
    assert told in refusal.error
    assert name in refusal.error
    assert len(refusal.error) < 1024


@pytest.mark.parametrize(
    ("headers", "reason"),
    [((), "no-schema"), ((("schema", None),), "no-schema"), ((("schema", b"image.png/2"),), "wrong-schema")],
    ids=["no header", "no content", "another"],
)
def test_a_record_of_no_or_another_schema_is_refused(headers, reason):
    refusal = read_headers(headers).refusal_for("image.png/1")

    assert refusal.reason == reason
    assert "image.png/1" in refusal.error


def test_a_record_of_the_schema_is_not_refused():
    assert read_headers((("schema", b"image.png/1"),)).refusal_for("image.png/1") is None


def test_a_header_that_is_no_text_is_read_all_the_same():
    assert read_headers((("schema", b"\xff"), ("label", None))) == RecordHeaders("�", None, None)


def test_an_address_names_topic_partition_and_offset():
    address = address_of(message())

    assert address == Address("shoes.requests", 2, 17)
    assert str(address) == "shoes.requests/2/17"
    assert address.to_dict() == {"topic": "shoes.requests", "partition": 2, "offset": 17}


def test_a_record_that_was_never_sent_has_no_address():
    with pytest.raises(ValueError, match="never sent"):
        address_of(Message(value=b"value"))


def letter_of(original, refusal, *, run="run-5"):
    """A dead letter that fits."""
    letter, published = dead_letter("shoes.dead-letters", original, refusal, run, largest=1_000_000)
    assert published == refusal
    return letter


def test_a_dead_letter_is_the_original_with_its_reason():
    headers = [("schema", b"image.gif/1"), ("trace", None)]
    original = message(key=b"key", value=b"value", headers=headers, timestamp=(1, 1234))

    letter = letter_of(original, Refusal("wrong-schema", "It is a GIF."))

    assert letter == OutgoingRecord(
        "shoes.dead-letters",
        b"key",
        b"value",
        [
            *headers,
            ("dead-letter-reason", b"wrong-schema"),
            ("dead-letter-error", b"It is a GIF."),
            ("dead-letter-address", b"shoes.requests/2/17"),
            ("dead-letter-run", b"run-5"),
            ("dead-letter-timestamp", b"1234"),
        ],
    )


def test_a_dead_letter_of_a_record_without_anything():
    letter = letter_of(message(), Refusal("empty", "It has no value."))

    assert (letter.key, letter.value) == (None, None)


def test_a_long_error_is_cut_at_a_whole_character():
    letter = letter_of(message(), Refusal("undecodable", "ä" * 5000))

    error = dict(letter.headers)["dead-letter-error"]
    assert error.decode() == "ä" * (ERROR_TEXT_BYTES // 2)


def test_an_error_that_is_no_whole_text_is_told_all_the_same():
    letter = letter_of(message(), Refusal("undecodable", "\udcff"))

    assert dict(letter.headers)["dead-letter-error"] == b"\\udcff"


@pytest.mark.parametrize(
    ("original", "kept"),
    [
        ({"value": bytes(9000)}, {"key": b"key", "headers": HEADERS}),
        ({"value": bytes(9000), "headers": [*HEADERS, ("trace", bytes(9000))]}, {"key": b"key"}),
        ({"headers": [("ä" * 4000, b"")]}, {"key": b"key"}),
        ({"key": bytes(9000)}, {}),
    ],
    ids=["value", "value and header", "a header's name", "key"],
)
def test_a_dead_letter_that_is_too_large_is_cut_until_it_fits(original, kept):
    whole = message(**{"key": b"key", "value": b"value", "headers": HEADERS, **original})

    letter, refusal = dead_letter("shoes.dead-letters", whole, Refusal("no-schema", "None."), "run-5", largest=6000)

    explained = dict(letter.headers)
    assert (letter.key, letter.value) == (kept.get("key"), None)
    assert letter.headers[: -len(EXPLANATION)] == kept.get("headers", [])
    assert list(explained)[-len(EXPLANATION) :] == EXPLANATION
    assert explained["dead-letter-reason"] == refusal.reason.encode() == b"oversize"
    assert explained["dead-letter-address"] == b"shoes.requests/2/17"
    for said in (b"takes 6000", b"no-schema: None."):
        assert said in explained["dead-letter-error"]
    assert letter.size_bound <= 6000


def test_a_dead_letter_is_larger_than_its_original_by_the_room_its_topic_has():
    original = message(key=b"k" * 200, value=b"v" * 1000, headers=[("schema", b"image.png/1")])
    before = OutgoingRecord("shoes.requests", b"k" * 200, b"v" * 1000, [("schema", b"image.png/1")]).size_bound

    letter = letter_of(original, Refusal("undecodable", "x" * 5000), run="r" * 250)

    assert letter.size_bound - before < EXTRA_BYTES
