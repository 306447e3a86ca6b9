"""A strict JSON parser (RFC 8259) for untrusted text; Python's own accepts more."""

from __future__ import annotations

import json
from typing import Any, NoReturn


class Number(str):
    """The digits of a number, unconverted: conversion takes quadratic time, and Python refuses long numbers."""

    __slots__ = ()


def parse(value: bytes) -> Any:
    """Parse JSON, with `Number` for its numbers.

    Raises:
        UnicodeDecodeError: it is not UTF-8.
        ValueError, RecursionError: it is not JSON, has a key twice, or thousands of levels.
    """
    # Given bytes, the parser would guess an encoding.
    return json.loads(
        value.decode(), object_pairs_hook=_object, parse_constant=_no_constant, parse_int=Number, parse_float=Number
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("an object has a key twice")
    return content


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
