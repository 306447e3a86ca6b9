"""Rows of CSV, JSONL and Parquet files, read as a stream: no whole file is in memory."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import IO, Any, NamedTuple

from include.sources.base import SourceRefused

DELIMITERS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
PARQUET = ".parquet"
SUFFIXES = (*DELIMITERS, *JSON_LINES, PARQUET)

# The csv module's default limit is 131,072 characters, and an image in base64 has more.
MAX_CELL = 128 * 2**20
ROWS_AT_ONCE = 256


class Row(NamedTuple):
    """A row of a table.

    Attributes:
        number: counted from 1.
        cells: the requested columns: text in CSV, any JSON or Parquet value elsewhere.
    """

    number: int
    cells: dict[str, Any]


def read_rows(
    stream: IO[bytes], name: str, columns: Sequence[str], *, skip: int = 0, delimiter: str | None = None
) -> Iterator[Row]:
    """The rows after the first `skip`.

    Args:
        name: the file's; its ending decides the format.
        delimiter: between the cells of a CSV file; by default the one that the ending implies.

    Raises:
        SourceRefused: the file is not what its name says, or lacks a column.
    """
    ending = _ending(name)
    try:
        if ending in DELIMITERS:
            yield from islice(_csv(stream, name, columns, delimiter or DELIMITERS[ending]), skip, None)
        elif ending in JSON_LINES:
            yield from _json_lines(stream, name, columns, skip)
        else:
            yield from _parquet(stream, name, columns, skip)
    except UnicodeDecodeError as error:
        raise SourceRefused(f"Table {name} is not UTF-8 ({error.reason}): save it as UTF-8.") from error


def count_rows(stream: IO[bytes], name: str, *, delimiter: str | None = None) -> int:
    """The number of rows; of a Parquet file only the footer is read."""
    ending = _ending(name)
    if ending == PARQUET:
        return int(_parquet_file(stream, name).metadata.num_rows)
    if ending in JSON_LINES:
        return sum(1 for line in stream if line.strip())
    return sum(1 for _ in read_rows(stream, name, (), delimiter=delimiter))


def _ending(name: str) -> str:
    ending = next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), None)
    if ending is None:
        raise SourceRefused(f"Table {name} is none of {', '.join(SUFFIXES)}: rename it, or correct path of [source].")
    return ending


def _csv(stream: IO[bytes], name: str, columns: Sequence[str], delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(MAX_CELL)
    text = io.TextIOWrapper(stream, "utf-8-sig", newline="")
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    try:
        header = next(reader, [])
        _check_columns(name, columns, header)
        places = [(column, header.index(column)) for column in columns]
        number = 0
        for cells in reader:
            if not cells:
                continue  # an empty line
            if len(cells) != len(header):
                raise SourceRefused(
                    f"Line {reader.line_num} of table {name} has {len(cells)} cells and its first line {len(header)}: "
                    "correct the line, or delimiter of [source]."
                )
            number += 1
            yield Row(number, {column: cells[place] for column, place in places})
    except csv.Error as error:
        raise SourceRefused(f"Line {reader.line_num} of table {name} is no CSV: {error}; correct it.") from error


def _json_lines(stream: IO[bytes], name: str, columns: Sequence[str], skip: int) -> Iterator[Row]:
    lines = (line for line in stream if line.strip())
    for number, line in enumerate(islice(lines, skip, None), skip + 1):
        try:
            cells = json.loads(line.decode())
        except UnicodeDecodeError:
            raise
        except (ValueError, RecursionError) as error:
            raise SourceRefused(f"Row {number} of table {name} is no JSON: {error}; correct it.") from error
        if not isinstance(cells, dict):
            raise SourceRefused(f"Row {number} of table {name} is JSON and no object: correct it.")
        if number == 1:
            _check_columns(name, columns, list(cells))
        yield Row(number, {column: cells.get(column) for column in columns})


def _parquet(stream: IO[bytes], name: str, columns: Sequence[str], skip: int) -> Iterator[Row]:
    from pyarrow import ArrowException

    file = _parquet_file(stream, name)
    _check_columns(name, columns, file.schema_arrow.names)
    number, groups = 0, list(range(file.num_row_groups))
    while groups and number + file.metadata.row_group(groups[0]).num_rows <= skip:
        number += file.metadata.row_group(groups.pop(0)).num_rows
    try:
        for part in file.iter_batches(ROWS_AT_ONCE, row_groups=groups, columns=list(columns)):
            wanted = part.slice(max(0, skip - number))
            number += len(part) - len(wanted)
            for cells in wanted.to_pylist():
                number += 1
                yield Row(number, cells)
    except (ArrowException, OSError) as error:
        raise _damaged(name, error) from error


def _parquet_file(stream: IO[bytes], name: str) -> Any:
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        return ParquetFile(stream)
    except (ArrowException, OSError) as error:
        raise _damaged(name, error) from error


def _damaged(name: str, error: Exception) -> Exception:
    # Arrow reports damage as OSErrors without an errno; those of a filesystem have one.
    if isinstance(error, OSError) and error.errno is not None:
        return error
    reason = str(error).partition("\n")[0].rstrip(".")
    return SourceRefused(f"Table {name} is no whole Parquet file ({reason}): write it anew.")


def _check_columns(name: str, columns: Sequence[str], found: Sequence[str]) -> None:
    for column in columns:
        if found.count(column) != 1:
            how = "no column" if column not in found else "more than one column"
            raise SourceRefused(
                f"Table {name} has {how} {column!r} among {', '.join(map(repr, found)) or 'none'}: correct the name in "
                "[source], or the table."
            )
