"""What every refusal owes a person: one readable sentence."""

from __future__ import annotations


def assert_readable(error: BaseException, *named: object) -> None:
    """One line that ends with a full stop, holds no raw client error, and names each of `named`."""
    text = str(error)
    assert text[:1].isupper() or text[:1].isdigit(), text
    assert text.endswith("."), text
    assert "\n" not in text, text
    assert "KafkaError{" not in text, text
    assert "Traceback" not in text, text
    for thing in named:
        assert str(thing) in text, f"{thing!r} is not named in: {text}"
