"""CSV, JSONL and Parquet files of the same rows, as other programs write them."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet

ENDINGS = ("csv", "jsonl", "parquet")


def table(ending: str, rows: list[dict[str, Any]]) -> bytes:
    """The file of these rows, which all have the same keys; a list in CSV is JSON text."""
    if ending == "jsonl":
        return b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    if ending == "parquet":
        buffer = io.BytesIO()
        pyarrow.parquet.write_table(pa.Table.from_pylist(rows), buffer, row_group_size=3)
        return buffer.getvalue()
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    for row in rows:
        writer.writerow({key: json.dumps(value) if isinstance(value, list) else value for key, value in row.items()})
    return text.getvalue().encode()
