"""Rows of CSV, JSONL and Parquet files, read as a stream: no whole file is in memory."""

import csv
import io
import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import IO, Any, NamedTuple
from urllib.parse import unquote

from include.field_text import field_text, untyped_text
from include.sources._dialect import (
    DELIMITERS,
    JSON_LINES,
    PARQUET,
    SEPARATOR_LINE,
    UTF8,
    Dialect,
    csv_reader,
    decompressed,
    ending_of,
)
from include.sources._parquet_texts import parquet_texts
from include.sources.base import SourceRefused
from include.strict_json import each_key_once

ROWS_AT_ONCE = 256
# A key that none of the first rows of JSONL has is refused; so many rows and bytes are read to find it.
PROBED_ROWS, PROBED_BYTES = 1000, 2 * 2**20
# The first line of JSON that is written over several lines, and jq's filter for its rows.
JSON_OPENINGS = {"[": ".[]", "[{": ".[]", "{": "."}
# Python's parser, which takes NaN, but no key twice. One of its own is made for each call of `json.loads` with a hook.
OBJECT = json.JSONDecoder(object_pairs_hook=each_key_once).decode
# A quoted cell of fewer lines may look like several rows by chance.
SUSPECTED_LINES = 3
# What Hive and Spark call the folder of the rows that have no value.
NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"

Texts = Mapping[str, Callable[[Any], str | None]]


class Row(NamedTuple):
    """A row of a table.

    Attributes:
        number: counted from 1.
        cells: the requested columns: text in CSV, any JSON or Parquet value elsewhere.
        texts: by column, the conversion of such a cell to text.
    """

    number: int
    cells: dict[str, Any]
    texts: Texts

    def text(self, column: str) -> str | None:
        """A cell as an id, label or group; None where it is missing.

        Raises:
            NoSingleText: it has no one text.
        """
        return self.texts[column](self.cells[column])


class TableSize(NamedTuple):
    """How many rows there are.

    Attributes:
        lines: on how many lines these rows stand; as many as there are rows where no quoted cell runs over several.
        first_long: the first line of the first row that does.
    """

    rows: int
    lines: int
    first_long: int = 0


def read_rows(
    stream: IO[bytes], name: str, columns: Sequence[str], *, skip: int = 0, step: int = 1, dialect: Dialect
) -> Iterator[Row]:
    """Every `step`-th of the rows after the first `skip`.

    A column that the file lacks and a folder `column=value` names has that value in all rows.

    Args:
        name: the file's, below the source's path; its ending decides the format.

    Raises:
        SourceRefused: the file is not what its name says, or lacks a column.
    """
    ending = ending_of(name)
    if ending == PARQUET:
        yield from _parquet(stream, name, columns, skip, step, class_names=dialect.class_names)
        return
    read = _csv if ending in DELIMITERS else _json_lines
    with decompressed(stream, name) as plain, _decoding(name, dialect):
        yield from islice(read(plain, name, columns, skip, dialect), 0, None, step)


def count_rows(stream: IO[bytes], name: str, dialect: Dialect) -> TableSize:
    """The number of rows; of a Parquet file only the footer is read."""
    ending = ending_of(name)
    if ending == PARQUET:
        rows = int(_parquet_file(stream, name).metadata.num_rows)
        return TableSize(rows, rows)
    with decompressed(stream, name) as plain, _decoding(name, dialect):
        if ending in JSON_LINES:
            rows = sum(1 for line in _lines(plain, dialect) if line.strip())
            return TableSize(rows, rows)
        table = _CsvTable(plain, name, dialect)
        rows = sum(1 for _ in table)
        return TableSize(rows, rows + table.more_lines, table.first_long)


def columns_of(stream: IO[bytes], name: str, dialect: Dialect) -> list[str]:
    """The columns of a table, in their order; of JSONL the keys of its first rows."""
    ending = ending_of(name)
    if ending == PARQUET:
        found = list(_parquet_file(stream, name).schema_arrow.names)
    else:
        with decompressed(stream, name) as plain, _decoding(name, dialect):
            found = _CsvTable(plain, name, dialect).header if ending in DELIMITERS else _keys(plain, name, dialect)
    return found + [column for column in partition_of(name) if column not in found]


def partition_of(name: str) -> dict[str, str]:
    """The columns that the folders of a table have in their names, as Hive and Spark write them."""
    parts = [part.partition("=") for part in name.split("/")[:-1]]
    values = {unquote(key): unquote(value) for key, sign, value in parts if key and sign}
    return {key: "" if value == NO_PARTITION else value for key, value in values.items()}


@contextmanager
def _decoding(name: str, dialect: Dialect) -> Iterator[None]:
    """Name the encoding where the bytes are none of it."""
    try:
        yield
    except UnicodeError as error:
        encoding = "UTF-8" if dialect.encoding == UTF8 else dialect.encoding
        raise SourceRefused(
            f"Table {name} is not {encoding} ({getattr(error, 'reason', error)}): save it as UTF-8, or name its "
            'encoding in [source], encoding = "cp1252" or "utf-16" for instance.'
        ) from error


class _CsvTable:
    """The lists of cells of a CSV file, header apart, with the lines that they are on."""

    def __init__(self, stream: IO[bytes], name: str, dialect: Dialect) -> None:
        self._name, self._dialect = name, dialect
        self.more_lines, self.first_long = 0, 0
        text = io.TextIOWrapper(stream, dialect.encoding, newline="")
        first = text.readline()
        self._passed = 1 if SEPARATOR_LINE.fullmatch(first) else 0
        self._reader = csv_reader(text if self._passed else chain([first] if first else [], text), dialect)
        self._text = text  # which would close the stream if it were collected
        self._first_row: list[str] = []
        try:
            first_row = next(self._reader, [])
        except csv.Error as error:
            raise self._no_csv(0, error) from error
        if dialect.header:
            self.header = first_row
        else:
            self.header = [f"column_{number}" for number in range(1, len(first_row) + 1)]
            self._first_row = first_row

    def __iter__(self) -> Iterator[list[str]]:
        reader, width = self._reader, len(self.header)
        if self._first_row:
            yield self._first_row
        before = reader.line_num
        try:
            for cells in reader:
                if len(cells) != width:
                    if not cells:
                        before += 1  # an empty line
                        continue
                    raise SourceRefused(
                        f"Line {before + 1 + self._passed} of table {self._name} has {len(cells)} cells and its first "
                        f"line {width}: correct the line, or delimiter or quote of [source]."
                    )
                after = reader.line_num
                if after - before > 1:
                    self._check_lines(before + 1, after - before, cells)
                before = after
                yield cells
        except csv.Error as error:
            raise self._no_csv(before, error) from error

    def _check_lines(self, first: int, lines: int, cells: list[str]) -> None:
        """Let no quote swallow rows."""
        first += self._passed
        self.more_lines += lines - 1
        self.first_long = self.first_long or first
        where = f"The row at line {first} of table {self._name} runs over {lines:,} lines"
        if lines > self._dialect.max_cell_lines:
            raise SourceRefused(
                f"{where} and max_cell_lines of [source] is {self._dialect.max_cell_lines:,}: correct its quotes, say "
                'quote = "" in [source] where they are characters as any other, or raise max_cell_lines.'
            )
        if not self._dialect.is_sure and lines >= SUSPECTED_LINES and self._holds_rows(cells):
            raise SourceRefused(
                f"{where}, each of which would be a row of {len(cells)} cells if quotes were characters as any other: "
                """say quote = "" in [source] where they are, or quote = '"' where it is one row."""
            )

    def _holds_rows(self, cells: list[str]) -> bool:
        """Whether every line of a row would be one by itself, if a quote were a character as any other."""
        delimiters = [0]
        for place, cell in enumerate(cells):
            if place:
                delimiters[-1] += 1
            first, *more = cell.replace("\r\n", "\n").replace("\r", "\n").split("\n")
            delimiters[-1] += first.count(self._dialect.delimiter)
            delimiters += [line.count(self._dialect.delimiter) for line in more]
        return all(count == len(cells) - 1 for count in delimiters)

    def _no_csv(self, before: int, error: csv.Error) -> SourceRefused:
        return SourceRefused(
            f"Line {before + 1 + self._passed} of table {self._name} is no CSV: {error}; correct it, or say quote = "
            '"" in [source] where quotes are characters as any other.'
        )


def _csv(stream: IO[bytes], name: str, columns: Sequence[str], skip: int, dialect: Dialect) -> Iterator[Row]:
    table = _CsvTable(stream, name, dialect)
    fixed = _partition_for(name, columns, table.header)
    places = [(column, table.header.index(column)) for column in columns if column not in fixed]
    texts = dict.fromkeys(columns, untyped_text)
    for number, cells in enumerate(islice(table, skip, None), skip + 1):
        row = {column: cells[place] for column, place in places}
        yield Row(number, row | fixed if fixed else row, texts)


def _json_lines(stream: IO[bytes], name: str, columns: Sequence[str], skip: int, dialect: Dialect) -> Iterator[Row]:
    partition = partition_of(name)
    objects = _objects(stream, name, skip, dialect)
    first = [] if skip else _first_objects(objects, columns)
    if first:
        _check_columns(name, columns, list(dict.fromkeys(chain(partition, *(cells for _, cells, _ in first)))))
    texts = {column: _partition_text if column in partition else field_text for column in columns}
    for number, cells, _ in chain(first, objects):
        yield Row(number, {column: cells.get(column, partition.get(column)) for column in columns}, texts)


def _partition_text(cell: Any) -> str | None:
    """The text of a cell in a column that a folder names: the folder's own text, or a value of the row."""
    return untyped_text(cell) if isinstance(cell, str) else field_text(cell)


def _first_objects(objects: Iterator[tuple[int, dict[str, Any], int]], columns: Sequence[str]) -> list[Any]:
    """As many rows as it takes to see each column once, within limits."""
    first, missing, size = [], set(columns), 0
    for found in objects:
        first.append(found)
        missing.difference_update(found[1])
        size += found[2]
        if not missing or len(first) >= PROBED_ROWS or size >= PROBED_BYTES:
            break
    return first


def _keys(stream: IO[bytes], name: str, dialect: Dialect) -> list[str]:
    first = _first_objects(_objects(stream, name, 0, dialect), [""])
    return list(dict.fromkeys(chain.from_iterable(cells for _, cells, _ in first)))


def _lines(stream: IO[bytes], dialect: Dialect) -> Iterator[str | bytes]:
    if dialect.encoding == UTF8:
        return iter(stream)
    return iter(io.TextIOWrapper(stream, dialect.encoding, newline="\n"))


def _objects(stream: IO[bytes], name: str, skip: int, dialect: Dialect) -> Iterator[tuple[int, dict[str, Any], int]]:
    """Number, object and size of each row behind the first `skip`."""
    lines = (line for line in _lines(stream, dialect) if line.strip())
    for number, line in enumerate(islice(lines, skip, None), skip + 1):
        text = line if isinstance(line, str) else line.decode(UTF8 if number == 1 else "utf-8")
        try:
            cells = OBJECT(text)
        except (ValueError, RecursionError) as error:
            if number == 1 and text.strip() in JSON_OPENINGS:
                raise _several_lines(name, "over several lines", JSON_OPENINGS[text.strip()]) from error
            raise SourceRefused(f"Row {number} of table {name} is no JSON: {error}; correct it.") from error
        if not isinstance(cells, dict):
            if number == 1 and isinstance(cells, list) and any(isinstance(cell, dict) for cell in cells[:1]):
                raise _several_lines(name, "in one list", ".[]")
            raise SourceRefused(f"Row {number} of table {name} is JSON and no object: correct it.")
        yield number, cells, len(line)


def _several_lines(name: str, how: str, taken: str) -> SourceRefused:
    return SourceRefused(
        f"Table {name} has JSON {how} and each row has to be an object on a line of its own: convert it, for instance "
        f"with `jq -c {shlex.quote(taken)} {shlex.quote(name)}`."
    )


def _parquet(
    stream: IO[bytes], name: str, columns: Sequence[str], skip: int, step: int, *, class_names: bool
) -> Iterator[Row]:
    from pyarrow import ArrowException

    file = _parquet_file(stream, name)
    schema = file.schema_arrow
    fixed = _partition_for(name, columns, schema.names)
    own = [column for column in columns if column not in fixed]
    texts: Texts = {**parquet_texts(schema, own, class_names=class_names), **dict.fromkeys(fixed, untyped_text)}
    number, groups = 0, list(range(file.num_row_groups))
    while groups and number + file.metadata.row_group(groups[0]).num_rows <= skip:
        number += file.metadata.row_group(groups.pop(0)).num_rows
    following = skip  # how many rows are before the next that is wanted
    try:
        for part in file.iter_batches(ROWS_AT_ONCE, row_groups=groups, columns=own):
            wanted = part.slice(max(0, following - number))
            first = number + len(part) - len(wanted)
            if step > 1:
                wanted = wanted.take(list(range(0, len(wanted), step)))
            for place, cells in zip(range(first + 1, number + len(part) + 1, step), wanted.to_pylist(), strict=True):
                if fixed:
                    cells.update(fixed)
                yield Row(place, cells, texts)
            following = max(following, first + len(wanted) * step)
            number += len(part)
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
    return SourceRefused(f"Table {name} is no whole Parquet file ({reason}): write it again.")


def _partition_for(name: str, columns: Sequence[str], found: Sequence[str]) -> dict[str, str]:
    """The cells of the columns that the file lacks and its folders name, once every column is found in one of them."""
    partition = {column: value for column, value in partition_of(name).items() if column not in found}
    _check_columns(name, columns, [*found, *partition])
    return {column: partition[column] for column in columns if column in partition}


def _check_columns(name: str, columns: Sequence[str], found: Sequence[str]) -> None:
    for column in columns:
        if found.count(column) != 1:
            how = "no column" if column not in found else "more than one column"
            raise SourceRefused(
                f"Table {name} has {how} {column!r} among {', '.join(map(repr, found)) or 'none'}: correct the name in "
                "[source], or the table."
            )
