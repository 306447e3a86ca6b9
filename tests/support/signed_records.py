"""Signed records as another application makes them by the docs of include.kafka.signing alone, and tampered ones."""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable
from dataclasses import replace

from include.kafka.signing import SigningKeys
from tests.support.producers import Record

SECRET = "a-secret-of-more-than-thirty-two-bytes"  # noqa: S105 - a test's own
RETIRED = "another-secret-that-signed-records-last-year"
KEYS = SigningKeys("2026", {"2026": SECRET, "2025": RETIRED})

Change = Callable[[Record], Record]


def signature(plain: Record, key_id: str = "2026", secret: str = SECRET, audience: str | None = None) -> bytes:
    headers = dict(plain.headers)
    signed = b"millrace-signature/1" if audience is None else b"millrace-signature/2"
    fields = (headers.get("schema"), headers.get("label"), headers.get("group"), plain.key, plain.value)
    for field in fields if audience is None else (audience.encode(), *fields):
        signed += b"\xff" * 8 if field is None else struct.pack(">Q", len(field)) + field
    return f"{key_id}:{hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}".encode()


def signed(plain: Record, key_id: str = "2026", secret: str = SECRET) -> Record:
    return with_header(plain, "signature", signature(plain, key_id, secret))


def with_header(plain: Record, name: str, content: bytes | None) -> Record:
    """The record with this header instead of those of the same name."""
    return replace(plain, headers=[*(header for header in plain.headers if header[0] != name), (name, content)])


def _signature_of(change: Change) -> Change:
    """Puts the signature of the changed record on the unchanged record."""
    return lambda plain: with_header(plain, "signature", signature(change(plain)))


def _header(name: str, content: bytes | None) -> Change:
    return lambda plain: with_header(plain, name, content)


def _own(change: Callable[[bytes], bytes | None]) -> Change:
    """Changes the record's own signature."""
    return lambda plain: with_header(plain, "signature", change(signature(plain)))


# Ways to tamper with a signed record, and the reason code of each refusal.
TAMPERED: dict[str, tuple[Change, str]] = {
    "value": (lambda plain: replace(plain, value=bytes([plain.value[0] ^ 1]) + plain.value[1:]), "wrong-signature"),
    "no value": (lambda plain: replace(plain, value=None), "wrong-signature"),
    "id": (lambda plain: replace(plain, key=b"another"), "wrong-signature"),
    "no id": (lambda plain: replace(plain, key=None), "wrong-signature"),
    "schema": (_header("schema", b"other/1"), "wrong-signature"),
    "label": (_header("label", b"c"), "wrong-signature"),
    "group": (_header("group", b"others"), "wrong-signature"),
    "empty group": (_header("group", b""), "wrong-signature"),
    "signature of another record": (_signature_of(lambda plain: replace(plain, key=b"other")), "wrong-signature"),
    "another's key under a known id": (
        lambda plain: signed(plain, secret="x" * 32),
        "wrong-signature",
    ),
    "retired id, current key": (lambda plain: signed(plain, "2025", SECRET), "wrong-signature"),
    "unknown key": (lambda plain: signed(plain, "stranger"), "unknown-key"),
    "key id that is no text": (_own(lambda own: b"\xff" + own), "unknown-key"),
    "no signature": (
        lambda plain: replace(plain, headers=[header for header in plain.headers if header[0] != "signature"]),
        "unsigned",
    ),
    "header without content": (_own(lambda _: None), "wrong-signature"),
    "empty header": (_own(lambda _: b""), "wrong-signature"),
    "key id alone": (_own(lambda own: own.partition(b":")[0]), "wrong-signature"),
    "cut short": (_own(lambda own: own[:-1]), "wrong-signature"),
    "too long": (_own(lambda own: own + b"0"), "wrong-signature"),
    "capital digits": (_own(lambda own: own[:5] + own[5:].upper()), "wrong-signature"),
    "two, the last one wrong": (
        lambda plain: replace(plain, headers=[*plain.headers, ("signature", b"2026:0")]),
        "wrong-signature",
    ),
}
