"""A strict JSON parser (RFC 8259) for untrusted text; Python's own accepts more."""

import json
from collections.abc import Callable
from typing import Any, NoReturn

from include.refusal import InvalidRecord


class Number(str):
    """The digits of a number, unconverted: conversion takes quadratic time, and Python refuses long numbers."""

    __slots__ = ()


def parse(value: bytes, integer: Callable[[str], Any] = Number, real: Callable[[str], Any] = Number) -> Any:
    """Parse JSON, with `Number` for its numbers.

    Args:
        integer: makes something else of the digits of an integer.
        real: the same for a number with a point or an exponent.

    Raises:
        UnicodeDecodeError: it is not UTF-8.
        ValueError, RecursionError: it is not JSON, has a key twice, or thousands of levels.
    """
    # Given bytes, the parser would guess an encoding.
    return json.loads(
        value.decode(),
        object_pairs_hook=each_key_once,
        parse_constant=_no_constant,
        parse_int=integer,
        parse_float=real,
    )


def read_json(value: bytes, integer: Callable[[str], Any] = Number, real: Callable[[str], Any] = Number) -> Any:
    """Parse the JSON of a record, see `parse`.

    Raises:
        InvalidRecord: the value is not JSON.
    """
    try:
        return parse(value, integer, real)
    except UnicodeDecodeError as error:
        fault = f"Byte {error.start} of {len(value)} is not UTF-8: {error.reason}."
        raise InvalidRecord("invalid-utf8", fault) from error
    except (ValueError, RecursionError) as error:
        raise InvalidRecord("invalid-json", f"{len(value)} bytes are not JSON: {error}.") from error


def json_or_none(text: str) -> Any:
    """Parse the JSON that a label may be, with Python's numbers; None for null and for what is no JSON."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None


def each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of a parser's pairs.

    Raises:
        ValueError: it has a key twice, of which Python's parser silently takes the last.
    """
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("an object has a key twice")
    return content


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
