"""A signature is valid for its own record and a known key only."""

from __future__ import annotations

from dataclasses import replace

import pytest
from confluent_kafka import Message

from include.kafka.connection import KafkaConnection
from include.kafka.signing import InvalidSigningKeys, SigningKeys
from tests.support.assertions import assert_readable
from tests.support.producers import Record
from tests.support.signed_records import KEYS, RETIRED, SECRET, TAMPERED, signature, signed, with_header

SAMPLE = Record(b"value", b"id-1", [("schema", b"tensor.raw/1"), ("label", b"a"), ("group", b"voice-1")])
REQUEST = Record(b"value", b"id-1", [("schema", b"tensor.raw/1")])
BARE = Record(None, None)


def message(plain):
    return Message(key=plain.key, value=plain.value, headers=list(plain.headers))


def sign(plain, keys=KEYS):
    return keys.sign(plain.key, plain.value, tuple(plain.headers))


def verify(plain, keys=KEYS):
    rejection = keys.verify(message(plain), tuple(plain.headers))[1]
    return None if rejection is None else rejection.reason


@pytest.mark.parametrize("plain", [SAMPLE, REQUEST, BARE], ids=["sample", "request", "bare"])
def test_the_signed_bytes_are_the_documented_ones(plain):
    assert sign(plain) == ("signature", signature(plain))
    assert verify(signed(plain)) is None


def test_the_documentation_has_not_changed():
    """Other applications sign by it. Computed with `openssl dgst -sha256 -hmac` over the documented bytes."""
    assert sign(SAMPLE) == ("signature", KNOWN)


KNOWN = b"2026:56fd28e68e3c4740dd9dff826a36297c3d9a548772f97b32055a2c3c6b15217e"


@pytest.mark.parametrize("plain", [SAMPLE, REQUEST, BARE], ids=["sample", "request", "bare"])
def test_a_record_is_valid_for_its_audience_only(plain):
    """Two pipelines with one key took each other's records."""
    shoes, hats = replace(KEYS, audience="shoes"), replace(KEYS, audience="hats")
    for_shoes = with_header(plain, "signature", signature(plain, audience="shoes"))

    assert sign(plain, shoes) == ("signature", signature(plain, audience="shoes"))
    assert verify(for_shoes, shoes) is None
    assert verify(for_shoes, hats) == verify(for_shoes) == verify(signed(plain), shoes) == "wrong-signature"
    assert "audience hats" in hats.verify(message(for_shoes), tuple(for_shoes.headers))[1].error
    # Of the ledger's entries the key names the pipeline.
    assert shoes.sign_entry(b"key", b"value") == KEYS.sign_entry(b"key", b"value")


@pytest.mark.parametrize(("change", "reason"), TAMPERED.values(), ids=TAMPERED)
def test_a_changed_record_is_refused(change, reason):
    assert verify(change(signed(SAMPLE))) == reason


@pytest.mark.parametrize(
    "moved",
    [
        replace(SAMPLE, key=b"id-1v", value=b"alue"),
        replace(SAMPLE, key=b"id", value=b"-1value"),
        replace(SAMPLE, headers=[("schema", b"tensor.raw/1a"), ("label", b""), ("group", b"voice-1")]),
        replace(SAMPLE, headers=[("schema", b"tensor.raw/1"), ("group", b"a"), ("label", b"voice-1")]),
        replace(SAMPLE, headers=[("schema", b"tensor.raw/1"), ("label", b"a")], key=b"voice-1", value=b"id-1value"),
    ],
    ids=["id to value", "value to id", "label to schema", "label for group", "group to id"],
)
def test_no_byte_can_move_between_fields(moved):
    assert verify(replace(moved, headers=[*moved.headers, ("signature", signature(SAMPLE))])) == "wrong-signature"


@pytest.mark.parametrize("absent", [{"key": None}, {"value": None}], ids=str)
def test_an_absent_field_differs_from_an_empty_one(absent):
    empty = replace(SAMPLE, **dict.fromkeys(absent, b""))

    assert sign(empty) != sign(replace(SAMPLE, **absent))


def test_other_headers_may_be_added_on_the_way():
    plain = signed(SAMPLE)

    assert verify(replace(plain, headers=[("trace", b"1"), *plain.headers, ("replays", b"1")])) is None


def test_verified_headers_are_without_the_signature():
    """Otherwise each record would have a distinct set of headers, and the cache would be useless."""
    for plain in (signed(SAMPLE), SAMPLE):
        assert KEYS.verify(message(plain), tuple(plain.headers))[0] == tuple(SAMPLE.headers)


def test_a_retired_key_verifies_until_it_is_removed():
    old = signed(SAMPLE, "2025", RETIRED)

    assert verify(old) is None
    assert verify(old, SigningKeys("2026", {"2026": SECRET})) == "unknown-key"
    assert sign(SAMPLE)[1].startswith(b"2026:")


def test_a_refusal_does_not_contain_the_signature():
    """With the correct signature from a dead letter, a reader could forge a signed record."""
    tampered = replace(signed(SAMPLE), value=b"other")

    error = KEYS.verify(message(tampered), tuple(tampered.headers))[1].error

    assert signature(tampered).partition(b":")[2].decode() not in error


def test_keys_are_printed_without_their_secrets():
    connection = KafkaConnection({"bootstrap.servers": "somewhere:9092"}, signing=KEYS)

    shown = f"{KEYS} {KEYS!r} {connection} {connection!r}"

    assert SECRET not in shown
    assert RETIRED not in shown
    assert repr(KEYS) == "SigningKeys(current='2026', known=['2025', '2026'])"


@pytest.mark.parametrize(
    ("key_id", "secret", "named"),
    [
        ("2026", "too-short", "9 bytes"),
        ("2026", "x" * 31, "31 bytes"),
        ("2026", "", "0 bytes"),
        ("a:b", SECRET, "a:b"),
        ("", SECRET, "''"),
        ("ключ", SECRET, "ключ"),
        ("k" * 65, SECRET, "k" * 65),
    ],
)
def test_invalid_keys_are_refused_and_not_shown(key_id, secret, named):
    with pytest.raises(InvalidSigningKeys) as refusal:
        SigningKeys(key_id, {key_id: secret})

    assert_readable(refusal.value, named)
    assert not secret or secret not in str(refusal.value)


def test_signed_records_need_keys():
    without = KafkaConnection({})
    having = replace(without, signing=KEYS)

    assert having.signing_keys(signed=True) is KEYS
    assert having.signing_keys(signed=False) is None
    assert without.signing_keys(signed=False) is None
    with pytest.raises(InvalidSigningKeys) as refusal:
        without.signing_keys(signed=True)
    assert_readable(refusal.value, "[signing]")
