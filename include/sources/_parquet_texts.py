"""What makes text of the cells of a Parquet file's columns, which have types that Python's values no longer show."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from include.field_text import NoSingleText, field_text

if TYPE_CHECKING:
    import pyarrow as pa

# Under this key of a schema's metadata, Hugging Face's datasets keep the names of a column's classes.
FEATURES = b"huggingface"
NO_CLASS = -1


def parquet_texts(
    schema: pa.Schema, columns: Sequence[str], *, class_names: bool
) -> dict[str, Callable[[Any], str | None]]:
    """By column, what makes text of a cell.

    Args:
        class_names: whether the numbers of a `ClassLabel` become its names.
    """
    named = class_names_of(schema) if class_names else {}
    return {
        column: partial(_class_text, names=named[column]) if column in named else _text_of(schema.field(column).type)
        for column in columns
        if schema.names.count(column) == 1
    }


def class_names_of(schema: pa.Schema) -> dict[str, list[str]]:
    """The names of the classes by the columns that hold their numbers, alone or in lists."""
    try:
        features = json.loads((schema.metadata or {})[FEATURES])["info"]["features"]
        return {column: names for column, feature in features.items() if (names := _names(feature))}
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _names(feature: Any) -> list[str]:
    if isinstance(feature, list) and len(feature) == 1:
        return _names(feature[0])
    if not isinstance(feature, dict):
        return []
    if feature.get("_type") in ("Sequence", "List", "LargeList"):
        return _names(feature.get("feature"))
    names = feature.get("names") if feature.get("_type") == "ClassLabel" else None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else []


def _class_text(cell: Any, names: list[str]) -> str | None:
    if isinstance(cell, list):
        return field_text([_name(item, names) for item in cell])
    return None if cell is None or cell == NO_CLASS else field_text(_name(cell, names))


def _name(number: Any, names: list[str]) -> Any:
    if not isinstance(number, int):
        return number
    if not 0 <= number < len(names):
        raise NoSingleText(f"{number} of type ClassLabel is none of its {len(names)} classes: correct the cell.")
    return names[number]


def _text_of(cell_type: pa.DataType) -> Callable[[Any], str | None]:
    import pyarrow as pa

    is_list = pa.types.is_list(cell_type) or pa.types.is_large_list(cell_type) or pa.types.is_fixed_size_list(cell_type)
    number = cell_type.value_type if is_list else cell_type
    if pa.types.is_float32(number) or pa.types.is_float16(number):
        return partial(_short_float_text, dtype=f"float{number.bit_width}")
    return field_text


def _short_float_text(cell: Any, dtype: str) -> str | None:
    """Python's float has more digits than the one of the file: 0.1 would be 0.10000000149011612."""
    import numpy as np

    if cell is None or (isinstance(cell, list) and None in cell):
        return field_text(cell)
    return field_text(np.asarray(cell, dtype))
