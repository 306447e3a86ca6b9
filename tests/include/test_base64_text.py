"""The dialects of base64: each gives the bytes that were written, and anything else is refused."""

from __future__ import annotations

import base64

import pytest

from include.base64_text import lenient_base64

CONTENT = bytes(range(256)) + b"\xfb\xff"
STANDARD = base64.b64encode(CONTENT)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 257, 258])
@pytest.mark.parametrize(
    "write",
    [
        base64.b64encode,
        base64.urlsafe_b64encode,
        base64.encodebytes,
        lambda content: base64.encodebytes(content).replace(b"\n", b"\r\n"),
        lambda content: base64.b64encode(content).rstrip(b"="),
        lambda content: base64.urlsafe_b64encode(content).rstrip(b"="),
        lambda content: b"data:image/png;base64," + base64.b64encode(content),
        lambda content: b" DATA:audio/wav;rate=8000;BASE64," + base64.encodebytes(content),
        lambda content: b"data:;base64," + base64.urlsafe_b64encode(content),
    ],
)
def test_every_dialect_gives_the_bytes(write, length):
    content = CONTENT[-length:] if length else b""

    assert lenient_base64(write(content)) == content


@pytest.mark.parametrize(
    "text", [b"A", STANDARD + b"A", b"AA=A", b"A=AA", b"AA!A", "schön".encode(), b"data:,hello", b"data:image/png,AAAA"]
)
def test_what_is_no_base64_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        lenient_base64(text)
