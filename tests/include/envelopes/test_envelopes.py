"""An envelope is opened, or refused with a reason code and one sentence."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.envelopes.base import MAX_FIELD_BYTES, EnvelopeContent
from include.envelopes.json_object import JsonEnvelope
from include.refusal import InvalidRecord
from tests.support.assertions import assert_readable
from tests.support.envelope_contract import assert_opened_or_refused

ENVELOPE = JsonEnvelope(content="image", content_is="base64", id="id", group="meta.camera")
OPEN = ENVELOPE.open_with(None, "label")
GOOD = {"image": base64.b64encode(b"\xff\x00pixels").decode(), "id": 17, "label": "cat", "meta": {"camera": "c1"}}


def opened(**changed):
    fields = {name: value for name, value in {**GOOD, **changed}.items() if value != "left out"}
    return OPEN(json.dumps(fields).encode())


def test_fields_are_found_by_their_names():
    assert opened() == EnvelopeContent(b"\xff\x00pixels", b"17", b"c1", "cat")


def test_text_content_is_its_utf8():
    envelope = JsonEnvelope(content="text")

    assert envelope.open_with(None, None)('{"text": "schön", "more": [1e400]}'.encode()) == EnvelopeContent(
        "schön".encode()
    )


@pytest.mark.parametrize(
    ("label", "text"), [(7, "7"), (1.50, "1.5"), (True, "true"), ("", ""), (None, None), ("left out", None)]
)
def test_a_label_is_its_json_text(label, text):
    assert opened(label=label).label == text


def test_a_number_keeps_its_digits():
    digits = "1" * 1000

    assert OPEN(json.dumps(GOOD).replace("17", digits).encode()).id == digits.encode()


@pytest.mark.parametrize(
    ("label", "text"),
    [
        (1.0, "1"),
        (-0.0, "0"),
        (2.5, "2.5"),
        (True, "true"),
        (None, None),
        ("", ""),
        ("1.0", "1.0"),
        (["a", "b"], '["a", "b"]'),
        ([], "[]"),
        ([1.0, 2.5], "[1, 2.5]"),
    ],
)
def test_a_typed_label_is_the_same_text_as_in_a_table(label, text):
    assert opened(label=label).label == text


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "empty"),
        (b"", "empty"),
        (b"\xff{}", "invalid-utf8"),
        (b"{", "invalid-json"),
        (b'{"image": NaN}', "invalid-json"),
        (b'{"id": 1, "id": 2}', "invalid-json"),
        (b"[" * 100_000, "invalid-json"),
        (b'{"image":' * 100_000, "invalid-json"),
        (b"[]", "wrong-type"),
        (b"7", "wrong-type"),
        (b"null", "wrong-type"),
        ({"image": "left out"}, "missing-field"),
        ({"image": None}, "missing-field"),
        ({"image": 7}, "wrong-type"),
        ({"image": ["AAAA"]}, "wrong-type"),
        ({"image": "AAA"}, "invalid-base64"),
        ({"image": "AA\nA="}, "invalid-base64"),
        ({"image": "schön"}, "invalid-base64"),
        ({"id": "left out"}, "missing-field"),
        ({"id": ""}, "missing-field"),
        ({"id": {}}, "wrong-type"),
        ({"id": "x" * (MAX_FIELD_BYTES + 1)}, "field-too-long"),
        ({"id": "\ud800"}, "invalid-utf8"),
        ({"label": {}}, "wrong-type"),
        ({"label": ["cat", None]}, "wrong-type"),
        ({"label": [["cat"]]}, "wrong-type"),
        ({"label": "\ud800"}, "invalid-utf8"),
        ({"meta": "left out"}, "missing-field"),
        ({"meta": "c1"}, "wrong-type"),
        ({"meta": {}}, "missing-field"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_invalid_object_is_refused_with_its_reason(value, reason):
    with pytest.raises(InvalidRecord) as refused:
        opened(**value) if isinstance(value, dict) else OPEN(value)

    assert refused.value.refusal.reason == reason
    assert_readable(refused.value)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["image", "id", "label", "meta", "camera"]), inner, max_size=5)
    ),
    max_leaves=12,
)


@given(st.binary() | JSON_VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_opened_or_refused(value):
    assert_opened_or_refused(OPEN, value)
