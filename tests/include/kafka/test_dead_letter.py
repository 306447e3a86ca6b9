"""A dead letter is its original with the refusal and the original's address, cut where its topic cannot take it."""

from __future__ import annotations

import pytest
from confluent_kafka import Message

from include.kafka.dead_letters import ERROR_TEXT_BYTES, EXTRA_BYTES, dead_letter, original_headers
from include.kafka.records import OutgoingRecord, consumed_record
from include.refusal import Refusal

HEADERS = [("schema", b"image.png/1")]
EXPLANATION = [f"dead-letter-{name}" for name in ("reason", "error", "address", "run", "timestamp")]


def message(**fields):
    return consumed_record(Message(**{"topic": "shoes.requests", "partition": 2, "offset": 17, **fields}))


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


def test_headers_of_the_original_never_explain_the_dead_letter():
    forged = [
        ("dead-letter-reason", b"oversize"),
        ("dead-letter-note", b"a producer's own"),
        ("original-dead-letter-run", b"another"),
    ]
    letter = letter_of(message(headers=forged, timestamp=(1, 1234)), Refusal("wrong-schema", "It is a GIF."))

    names = [name for name, _ in letter.headers]
    assert names == [
        "original-dead-letter-reason",
        "original-dead-letter-note",
        "original-original-dead-letter-run",
        *EXPLANATION,
    ]
    assert dict(letter.headers)["dead-letter-reason"] == b"wrong-schema"
    assert original_headers(tuple(letter.headers)) == forged


def test_a_sentence_has_nothing_that_acts_on_a_terminal():
    letter = letter_of(message(), Refusal("wrong-schema", "The schema is a\nb\x1b[31mc\u202ed."))

    assert dict(letter.headers)["dead-letter-error"] == b"The schema is a\\nb\\x1b[31mc\\u202ed."


def test_a_dead_letter_of_a_record_without_anything():
    letter = letter_of(message(), Refusal("empty", "It has no value."))

    assert (letter.key, letter.value) == (None, None)


def test_a_long_error_is_cut_at_a_whole_character():
    letter = letter_of(message(), Refusal("undecodable", "ä" * 5000))

    error = dict(letter.headers)["dead-letter-error"]
    assert error.decode() == "ä" * (ERROR_TEXT_BYTES // 2)


def test_an_error_with_invalid_text_is_escaped():
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


def test_a_dead_letter_fits_into_the_extra_bytes_of_its_topic():
    original = message(key=b"k" * 200, value=b"v" * 1000, headers=[("schema", b"image.png/1")])
    before = OutgoingRecord("shoes.requests", b"k" * 200, b"v" * 1000, [("schema", b"image.png/1")]).size_bound

    letter = letter_of(original, Refusal("undecodable", "x" * 5000), run="r" * 250)

    assert letter.size_bound - before < EXTRA_BYTES
