"""Conversion of a table's cell to the content of a sample."""

from __future__ import annotations

import binascii
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import TYPE_CHECKING, Any

from include.field_text import NoSingleText
from include.number_text import number_in
from include.row_json import row_json
from include.strict_json import Number

if TYPE_CHECKING:
    import numpy as np


JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?")
DIVIDED = re.compile(r"[\s,;]")
# A comma within a number, and another sign between numbers: 0,5; 0,7 may be two numbers or four.
COMMA_IN_NUMBER, OTHER_DIVISION = re.compile(r"[0-9],[0-9]"), re.compile(r";|[0-9]\s+[-+.0-9]")


class NoContent(Exception):
    """The cell does not hold valid content; the text says why in one sentence."""


def text_of(cell: Any) -> bytes:
    if not isinstance(cell, str):
        raise NoContent(f"The cell holds {_kind(cell)} and no text.")
    try:
        return cell.encode()
    except UnicodeEncodeError as error:
        raise NoContent(f"Character {error.start} of the text is half a surrogate pair.") from error


def base64_of(cell: Any) -> bytes:
    """The decoded bytes; anything but base64's own characters is refused, line breaks too."""
    try:
        return binascii.a2b_base64(text_of(cell), strict_mode=True)
    except binascii.Error as error:
        raise NoContent(f"The cell's text is not base64: {error}.") from error


def bytes_of(cell: Any) -> bytes:
    """A Parquet value of binary type, bare or as the `bytes` of a struct."""
    if isinstance(cell, dict):
        cell = cell.get("bytes")
    if not isinstance(cell, bytes):
        raise NoContent(f"The cell holds {_kind(cell)} and no bytes.")
    return cell


def number_of(column: str, cell: Any) -> float:
    """The one number of a cell, which is text in CSV."""
    number = number_in(cell) if isinstance(cell, str) else _number(cell)
    if number is None:
        shown = "nothing" if cell in (None, "") else repr(cell)[:60]
        raise NoContent(f"Column {column!r} holds {shown} and no number.")
    return number


def _number(cell: Any) -> float | None:
    if isinstance(cell, bool) or not isinstance(cell, Real | Decimal):
        return None
    try:
        return float(cell)
    except OverflowError:  # an integer of JSON has any number of digits
        return math.inf


def row_of(cells: Mapping[str, Any], texts: Mapping[str, Callable[[Any], str | None]], columns: Sequence[str]) -> bytes:
    """A JSON object of columns: numbers of a typed table are numbers, and any other cell is its text."""
    try:
        return row_json((column, _typed(cells[column], texts[column])) for column in columns).encode()
    except (NoSingleText, UnicodeEncodeError) as error:
        raise NoContent(f"A cell of the row has no single text: {error}") from error


def _typed(cell: Any, text_of: Callable[[Any], str | None]) -> Any:
    text = text_of(cell)
    is_number = text is not None and isinstance(cell, int | float | Decimal) and JSON_NUMBER.fullmatch(text)
    return Number(text) if is_number else text


def numbers_of(cell: Any, shape: tuple[int, ...], dtype: str) -> np.ndarray[Any, Any]:
    """An array from a list of numbers, nested or flat; in text it is JSON, NumPy's print, or has blanks or commas."""
    import numpy as np

    try:
        numbers = np.array(_listed(cell) if isinstance(cell, str) else cell)
    except (ValueError, RecursionError) as error:
        raise NoContent(f"The cell holds no list of numbers: {error}.") from error
    if numbers.ndim == 0 and np.prod(shape) == 1:
        numbers = numbers.reshape(1)
    if numbers.dtype.kind not in "iuf" or numbers.ndim == 0:
        raise NoContent("The cell holds no list of numbers.")
    if numbers.size != np.prod(shape):
        raise NoContent(f"The cell holds {numbers.size} numbers and shape {shape} takes {np.prod(shape)}.")
    with np.errstate(over="ignore", invalid="ignore"):
        content = numbers.astype(dtype).reshape(shape)
    whole = numbers.astype(np.float64)
    if not np.isfinite(content).all() or not np.isfinite(whole).all():
        raise NoContent(f"The cell holds NaN, infinity or a number beyond {dtype}.")
    if not dtype.startswith("float") and (content.ravel() != numbers.ravel()).any():
        raise NoContent(f"The cell holds a number that is no {dtype}.")
    return content


def _listed(text: str) -> Any:
    """What the text of CSV lists.

    Raises:
        ValueError, RecursionError: it lists no numbers.
    """
    import numpy as np

    if not DIVIDED.search(text.strip()) or text.lstrip().startswith("[["):
        return json.loads(text)
    try:
        return json.loads(text)
    except ValueError:
        if COMMA_IN_NUMBER.search(text) and OTHER_DIVISION.search(text):
            raise ValueError("its commas may be decimal ones: write them as points") from None
        parts = text.strip().strip("[]()").replace(",", " ").replace(";", " ").split()
        return np.array([_listed_number(part) for part in parts], np.float64)


def _listed_number(text: str) -> float:
    number = number_in(text)
    if number is None:
        raise ValueError(f"{text!r:.60} is no number")
    return number


def _kind(cell: Any) -> str:
    return "nothing" if cell is None else f"a value of type {type(cell).__name__}"
