"""Numbers as text: the array that is written there, or a refusal; a part of a text is never taken for a number."""

from __future__ import annotations

import pytest

from include.codecs.text_tensor import TextTensorCodec

FLOATS = TextTensorCodec(shape=(2, 2), dtype="float32")
BYTES = TextTensorCodec(shape=(4,), dtype="uint8")


@pytest.mark.parametrize(
    "text",
    [
        "[0.5, -1, 2e3, 7]",
        " [[0.5,-1],[2000,7]]\n",
        "0.5,-1,2e3,7",
        "0.5, -1.0, 2000.0, 7\r\n",
        ".5;-1.;+2E3;7",
        "0.5\t-1\t2000\t7",
        "0.5 -1   2000 7",
    ],
)
def test_lists_and_lines_are_read(text):
    assert FLOATS.decode([text.encode()]).samples.tolist() == [[[0.5, -1.0], [2000.0, 7.0]]]


def test_integers_are_exact():
    codec = TextTensorCodec(shape=(2,), dtype="int32")

    assert codec.decode([b"[2147483647, -2147483648]", b"1.0,-0.0"]).samples.tolist() == [
        [2147483647, -2147483648],
        [1, 0],
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("[1, 2, 3]", "wrong-size"),
        ("[[1, 2, 3, 4]]", "wrong-size"),
        ("[[1, 2], [3]]", "wrong-size"),
        ("[[1, 2], 3, 4]", "wrong-size"),
        ("1,2,3", "wrong-size"),
        ("1,2,3,4,", "undecodable"),
        ("1,,3,4", "undecodable"),
        ("0,1;0,2;0,3;0,4", "undecodable"),
        ("0,1 0,2", "undecodable"),
        ("1_0,2,3,4", "undecodable"),
        ("٣,2,3,4", "undecodable"),
        ("0x1,2,3,4", "undecodable"),
        ('[1, 2, 3, "4"]', "undecodable"),
        ("[1, 2, 3, null]", "undecodable"),
        ("[1, 2, 3, true]", "undecodable"),
        ("[1, 2, 3, NaN]", "invalid-json"),
        ("[1, 2, 3", "invalid-json"),
        ("[" * 100_000, "invalid-json"),
        ("1,2,3,nan", "not-finite"),
        ("1,2,3,1e39", "not-finite"),
        ("[1, 2, 3, 1e400]", "not-finite"),
    ],
)
def test_what_is_no_such_array_is_refused(text, reason):
    (refusal,) = FLOATS.decode([text.encode()]).refusals.values()

    assert refusal.reason == reason


@pytest.mark.parametrize("text", ["[1, 2, 3, 256]", "-1,2,3,4", "1,2,3,0.5", "1,2,3,nan"])
def test_a_number_that_the_dtype_does_not_have_is_refused(text):
    (refusal,) = BYTES.decode([text.encode()]).refusals.values()

    assert refusal.reason == "undecodable"
