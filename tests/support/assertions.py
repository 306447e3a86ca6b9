"""Assertions about error texts: one readable sentence."""

from __future__ import annotations


def assert_readable(error: BaseException, *named: object) -> None:
    """The text is one line that ends with a full stop, contains no raw client error, and names each of `named`."""
    text = str(error)
    assert text[:1].isupper() or text[:1].isdigit(), text
    assert text.endswith("."), text
    assert "\n" not in text, text
    assert "KafkaError{" not in text, text
    assert "Traceback" not in text, text
    for thing in named:
        assert str(thing) in text, f"{thing!r} is missing in: {text}"
