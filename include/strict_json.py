"""JSON by its standard's word (RFC 8259), where Python's own parser is lenient; for text that somebody else wrote."""

from __future__ import annotations

import json
from typing import Any, NoReturn


class Number(str):
    """A number's digits as they stood: reading a long one takes the square of its length, and Python refuses it."""

    __slots__ = ()


def parse(value: bytes) -> Any:
    """What the JSON holds, with `Number` for its numbers.

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
    raise ValueError(f"{name} is none of its numbers")
