"""The JSON object of a row: the content of a sample of the format `row`."""

import json
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from include.field_text import field_text
from include.strict_json import Number


def row_json(cells: Iterable[tuple[str, Any]]) -> str:
    """The JSON object of columns and their cells, missing cells left out.

    Numbers and booleans stay such; any other cell is its text, see `include.field_text`.

    Raises:
        NoSingleText: a cell has no single text, such as infinity or an object of fields.
    """
    items = ((column, _json(cell)) for column, cell in cells)
    return "{" + ",".join(f"{_quoted(column)}:{item}" for column, item in items if item is not None) + "}"


def _json(cell: Any) -> str | None:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, Number):
        return str(cell)
    text = field_text(cell)
    if text is None:
        return None
    return text if isinstance(cell, int | float | Decimal) else _quoted(text)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
