"""Text is decoded to its UTF-8 bytes, whether it is the whole value or a field of a JSON object."""

from __future__ import annotations

import json

import numpy as np
import pytest

from include.codecs.json_text import JsonTextCodec
from include.codecs.utf8 import Utf8Codec

PLAIN = Utf8Codec(length=8)
FIELD = JsonTextCodec(length=8, field="body")


def padded(text):
    return np.frombuffer(text.encode().ljust(8, b"\0"), np.uint8)


def test_zeros_follow_the_text():
    decoded = PLAIN.decode(["Grüße".encode(), b"8 bytes!"])

    assert decoded.samples.tolist() == [padded("Grüße").tolist(), padded("8 bytes!").tolist()]


def test_inputs_are_the_bytes_numbers():
    inputs = PLAIN.to_inputs(PLAIN.decode([b"az"]).samples)

    assert inputs.dtype == np.float32
    assert inputs.tolist() == [[97, 122, 0, 0, 0, 0, 0, 0]]


@pytest.mark.parametrize(
    "value",
    [
        '{"body": "Grüße"}',
        '{"body": "Gr\\u00fc\\u00dfe"}',
        ' {"id": 7, "body": "Grüße", "more": [true, null, {"body": "x"}]}\n',
        f'{{"body": "Grüße", "id": {"9" * 5000}, "score": 1e999}}',
    ],
    ids=["plain", "escaped", "among others", "beside numbers that Python has no room for"],
)
def test_the_text_is_the_field_of_the_object(value):
    decoded = FIELD.decode([value.encode()])

    assert decoded.samples.tolist() == [padded("Grüße").tolist()]


def test_a_character_may_be_two_escapes():
    assert FIELD.decode([b'{"body": "\\ud83d\\ude42"}']).samples.tolist() == [padded("🙂").tolist()]


def test_json_is_written_for_other_readers():
    assert json.loads(FIELD.encode(padded('"ü"'))) == {"body": '"ü"'}


@pytest.mark.parametrize("codec", [PLAIN, FIELD], ids=["plain", "field"])
@pytest.mark.parametrize("sample", [b"a\0b\0\0\0\0\0", b"\xff\0\0\0\0\0\0\0"], ids=["zero inside", "not UTF-8"])
def test_invalid_text_is_not_encoded(codec, sample):
    with pytest.raises(ValueError, match=r"zero before|can't decode"):
        codec.encode(np.frombuffer(sample, np.uint8))


def test_a_missing_field_is_named():
    (refusal,) = FIELD.decode([b'{"text": "left"}']).refusals.values()

    assert refusal.error == "The JSON object has no field 'body'."
