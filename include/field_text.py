"""The text of a typed value: how a label, a group or an id that a table or a record holds becomes a string."""

import json
import re
from datetime import date, time
from decimal import Decimal
from numbers import Integral, Real
from typing import Any
from uuid import UUID

from include.strict_json import Number

# pandas and spreadsheets write integers like this as soon as one cell of their column is missing. With a zero in front
# it is a code and no number.
WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]*))\.0*")
# How programs write a missing number and truth values where a file has no types.
UNTYPED = {"": None, "nan": None, "NaN": None, "True": "true", "TRUE": "true", "False": "false", "FALSE": "false"}
# A float holds every integer of so many digits; 1e999999 written out would have a million.
DIGITS = 15
SHOWN_CHARACTERS = 60
DOUBLE_BYTES = 8


class NoSingleText(ValueError):
    """The value has no one text; the sentence names its type and value."""


def field_text(value: Any) -> str | None:
    """The text of a value, None where it is missing: null, NaN, not-a-time or an empty text.

    | value | text |
    |---|---|
    | text, UUID | itself |
    | bytes | decoded as UTF-8 |
    | integer, whole float or decimal | the integer, so that 0, 0.0 and -0.0 are one class |
    | other float or decimal | its shortest decimal notation |
    | boolean | `true` or `false` |
    | date, time, timestamp | ISO 8601 |
    | list or array of these | a JSON list, numbers and booleans as such and the others as strings |

    Raises:
        NoSingleText: infinity, a missing value or a list within a list, bytes that are not UTF-8, half a surrogate
            pair, and every other type, such as an object of fields.
    """
    if type(value) is str and value.isascii():  # most are
        return value or None
    value = _native(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_item(item, value) for item in value) + "]"
    return _text(value) or None


def untyped_text(cell: str) -> str | None:
    """The same for a cell of CSV, which has no types.

    A whole number such as `3.0` becomes the integer, `nan` and `NaN` are missing, and `True` and `TRUE` are `true`.
    """
    if cell.endswith(("0", ".")):
        found = WHOLE.fullmatch(cell)
        return _integer(found[1]) if found else cell
    return UNTYPED.get(cell, cell)


def _item(item: Any, within: Any) -> str:
    item = _native(item)
    text = _text(item)
    if text is None:
        raise _no_single_text(within)
    is_plain = isinstance(item, Number | Real | Decimal)
    return text if is_plain else json.dumps(text, ensure_ascii=False)


def _native(value: Any) -> Any:
    """NumPy's scalars and arrays as Python's own; a float of fewer than 64 bits as its own shortest decimal."""
    if type(value).__module__ != "numpy":
        return value
    if getattr(value, "ndim", 0):
        return list(value)
    value = value[()] if hasattr(value, "dtype") else value
    if value.dtype.kind == "f" and value.dtype.itemsize < DOUBLE_BYTES:
        return Decimal(str(value))
    return value.tolist()


def _text(value: Any) -> str | None:
    if value is None or value != value:  # noqa: PLR0124 - only NaN and not-a-time differ from themselves
        return None
    match value:
        case bool():
            text = "true" if value else "false"
        case Number():
            text = _integer(value) if value.lstrip("-").isdigit() else _real(_digits_as_number(value))
        case str():
            text = _whole(value)
        case UUID() | Integral():
            text = str(value)
        case bytes():
            text = _decoded(value)
        case date() | time():
            text = value.isoformat()
        case Real() | Decimal():
            text = _real(value)
        case _:
            raise _no_single_text(value)
    return text


def _whole(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise NoSingleText(f"Character {error.start} of the text is half a surrogate pair: correct it.") from error
    return str(value)


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise _no_single_text(value) from error


def _integer(digits: str) -> str:
    """Digits as `str` writes an integer; text, since Python refuses to read more than 4300 of them."""
    sign = "-" if digits.startswith("-") else ""
    bare = digits.lstrip("+-").lstrip("0")
    return sign + bare if bare else "0"


def _digits_as_number(digits: str) -> Decimal:
    try:
        return Decimal(digits)
    except ArithmeticError as error:  # an exponent of twenty digits
        raise _no_single_text(digits) from error


def _real(value: Any) -> str:
    number = value if isinstance(value, Decimal) else Decimal(repr(float(value)))
    if not number.is_finite():
        raise _no_single_text(value)
    if number.adjusted() < DIGITS and number == int(number):
        return str(int(number))
    digits, _, exponent = str(number).partition("E")
    shortest = digits.rstrip("0").rstrip(".") if "." in digits else digits
    return f"{shortest}e{exponent}" if exponent else shortest


def _no_single_text(value: Any) -> NoSingleText:
    shown = repr(value)
    if len(shown) > SHOWN_CHARACTERS:
        shown = f"{shown[:SHOWN_CHARACTERS]}..."
    return NoSingleText(
        f"{shown} of type {type(value).__name__} has no one text: use a text, a number, a boolean, a date or a list of "
        "these."
    )
