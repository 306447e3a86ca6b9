"""The dialect of a table's text, found from its first rows and checked on all of it."""

import codecs
import csv
import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

from include.commands.image_format import NoPipelineFits
from include.sources import (
    DELIMITERS,
    PARQUET,
    QUOTE,
    SEPARATOR_LINE,
    UTF8,
    Dialect,
    File,
    csv_reader,
    default_quote,
    ending_of,
)
from include.sources.base import SourceRefused
from include.sources.table import TableSource

# The part of a table that is parsed in every possible way. All of it is checked in the way that is found.
HEAD_BYTES, HEAD_ROWS = 2**20, 2000
BYTES_AT_ONCE = 2**20
# Delimiters and quotes that programs write, in the order of how many do.
COMMON_DELIMITERS = (",", ";", "\t", "|")
# A quote and an escape; None for none.
QUOTINGS = ((QUOTE, None), (QUOTE, "\\"), (None, None), (None, "\\"), ("'", None), ("'", "\\"))
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
UTF32_MARKS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
WESTERN = "cp1252"
# A language that is written with Latin letters has no larger share of letters beyond ASCII.
MOSTLY_LATIN = 0.5
SHOWN_TEXT = 40
# How Python decodes bytes that are not UTF-8. In another encoding few bytes would form UTF-8's characters by chance.
STRAY = re.compile("[\udc80-\udcff]")
UTF8_CHARACTERS = 3
SEVERAL_NUMBERS = re.compile(r"[0-9][;|\t]|[;|\t][0-9]")
QUOTED = re.compile(r'"(?:[^"]|"")*"')
NUMBER = re.compile(r"\s*[-+]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][-+]?\d+)?\s*")
UNNAMED = re.compile(r"column_[0-9]+")


@dataclass(frozen=True)
class FoundDialect:
    """How a table is read.

    Attributes:
        settings: keys of the `[source]` table that differ from their defaults.
        notes: sentences for the user.
        first_row: the cells of the first row, where no header names the columns.
    """

    settings: dict[str, Any]
    notes: tuple[str, ...] = ()
    first_row: tuple[str, ...] = ()


def _rows(way: Dialect, head: str, *, whole: bool) -> list[list[str]]:
    """The rows of a table's beginning; none if they differ in width or have one cell only.

    Args:
        whole: whether the text is the whole table, so that its last row is not cut.
    """
    reader = csv_reader(io.StringIO(head, newline=""), way)
    rows: list[list[str]] = []
    lines = head.count("\n")
    try:
        for cells in filter(None, reader):
            is_last = not whole and reader.line_num >= lines
            if not is_last and len(cells) != len((rows or [cells])[0]):
                return []
            rows.append(cells)
    except csv.Error:
        if whole or reader.line_num < lines:
            return []
    rows = rows if whole else rows[:-1]
    return rows if rows and len(rows[0]) > 1 else []


def find_dialect(source: TableSource, given: Mapping[str, Any], named: Collection[str]) -> FoundDialect:
    """What the text of the tables is written in, from the first of them.

    Args:
        source: the tables, with default settings.
        given: settings that a person has chosen, by the keys of `[source]`.
        named: columns that a person has named, which show whether the first line is a header.

    Raises:
        NoPipelineFits: the encoding can't be found.
    """
    files = [file for file in source.files() if ending_of(file.name) != PARQUET]
    if not files:
        if given:
            raise NoPipelineFits(
                f"Table {source.path} is Parquet, which has no {' or '.join(sorted(given))}: leave the option out."
            )
        return FoundDialect({})
    settings, notes = dict(given), []
    if "encoding" not in given and (found := _encoding_of(source, files)) is not None:
        settings["encoding"], note = found
        notes.append(note)
    if ending_of(files[0].name) not in DELIMITERS:
        return FoundDialect(settings, tuple(notes))
    file = files[0]
    head, whole = _head(source, file, settings.get("encoding", UTF8))
    first_line = head.partition("\n")[0] + "\n"
    if separator := SEPARATOR_LINE.fullmatch(first_line):
        settings.setdefault("delimiter", separator[1])
        head = head.partition("\n")[2]
    way = _way_of(source, file, head, settings, named, whole=whole)
    if way is None:
        return FoundDialect(settings, tuple(notes))
    settings |= _differing(way, ending_of(file.name))
    rows = _rows(way, head, whole=whole)
    if "header" not in settings and not _has_header(rows, named):
        settings["header"] = False
    if shown := _shown({key: settings[key] for key in settings if key not in ("encoding", *given)}):
        notes.append(f"The file says how the table is written: {shown}.")
    first_row = () if settings.get("header", True) else tuple(rows[0])
    return FoundDialect({key: _plain(value) for key, value in settings.items()}, tuple(notes), first_row)


def _plain(value: Any) -> Any:
    return "" if value is None else value


def _shown(settings: Mapping[str, Any]) -> str:
    header = ["no header, so the columns are column_1, column_2 and so on"] if settings.get("header") is False else []
    named = [f"{key} {value!r}" for key, value in settings.items() if key in ("delimiter", "quote", "escape")]
    named = [text.replace("quote ''", "no quotes").replace("quote None", "no quotes") for text in named]
    blanks = ["a blank after each delimiter"] if settings.get("skip_initial_space") else []
    return ", ".join([*named, *blanks, *header])


# The encoding ---------------------------------------------------------------------------------------------------------


def _encoding_of(source: TableSource, files: Sequence[File]) -> tuple[str, str] | None:
    """Python's name of the encoding and a note for the user; None for UTF-8."""
    for file in files:
        with source.opened(file) as stream:
            start = stream.read(BYTES_AT_ONCE)
            wide = _wide_encoding(start)
            if wide is not None:
                return wide, f"Table {file.name} is {wide.upper()}: the file says so by encoding."
            fault = _first_that_is_not_utf8(start, iter(partial(stream.read, BYTES_AT_ONCE), b""))
        if fault is not None:
            return _narrow_encoding(file.name, fault)
    return None


def _wide_encoding(start: bytes) -> str | None:
    if start.startswith(UTF32_MARKS):
        return "utf-32"
    if start.startswith(UTF16_MARKS):
        return "utf-16"
    # Without a mark every other byte of ASCII is zero.
    part = start[:4096]
    even, odd = part[::2].count(0), part[1::2].count(0)
    if odd > len(part) // 4 and not even:
        return "utf-16-le"
    if even > len(part) // 4 and not odd:
        return "utf-16-be"
    return None


def _first_that_is_not_utf8(start: bytes, others: Iterator[bytes]) -> bytes | None:
    """The part of the text in which the first bytes are that are not UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    part = start
    while part:
        following = next(others, b"")
        try:
            decoder.decode(part, final=not following)
        except UnicodeDecodeError:
            return part
        part = following
    return None


def _narrow_encoding(name: str, part: bytes) -> tuple[str, str]:
    from charset_normalizer import from_bytes

    lines = [line for line in part.splitlines() if not line.isascii()]
    if damaged := _damaged_utf8(part, lines):
        raise NoPipelineFits(
            f"Table {name} is UTF-8 but for lines such as {damaged.strip()[:SHOWN_TEXT]!r}: correct these lines, or "
            "name another encoding with --encoding."
        )
    foreign = b"\n".join(lines)[:BYTES_AT_ONCE]
    encoding = WESTERN if _is_western(foreign) else getattr(from_bytes(foreign).best(), "encoding", None)
    if encoding is None:
        raise NoPipelineFits(
            f"Table {name} is not UTF-8 and its encoding can't be found: save it as UTF-8, or name its encoding with "
            "--encoding."
        )
    example = next((text for line in lines if (text := line.decode(encoding, "replace").strip())), "")
    example = f"{example[:SHOWN_TEXT]}..." if len(example) > SHOWN_TEXT else example
    return encoding, (
        f"Table {name} is not UTF-8. It is read as {encoding}, as which it has {example!r}: if that is wrong, name its "
        "encoding with --encoding."
    )


def _damaged_utf8(part: bytes, lines: Sequence[bytes]) -> bytes | None:
    """A line that is not UTF-8, where most of the characters beyond ASCII are."""
    text = part.decode("utf-8", "surrogateescape")
    faults = len(STRAY.findall(text))
    whole = sum(not letter.isascii() for letter in text) - faults
    if whole < UTF8_CHARACTERS * faults:
        return None
    return next((line for line in lines if STRAY.search(line.decode("utf-8", "surrogateescape"))), None)


def _is_western(text: bytes) -> bool:
    try:
        letters = [letter for letter in text.decode(WESTERN) if letter.isalpha()]
    except UnicodeDecodeError:
        return False
    return sum(not letter.isascii() for letter in letters) <= MOSTLY_LATIN * len(letters)


# Delimiter, quotes and header -----------------------------------------------------------------------------------------


def _head(source: TableSource, file: File, encoding: str) -> tuple[str, bool]:
    """The first rows of a table, and whether they are all."""
    with source.opened(file) as stream:
        content = stream.read(HEAD_BYTES)
        whole = not stream.read(1)
    text = codecs.getincrementaldecoder(encoding)("replace").decode(content, final=whole)
    lines = text.splitlines(keepends=True)
    return "".join(lines[:HEAD_ROWS]), whole and len(lines) <= HEAD_ROWS


def _way_of(
    source: TableSource, file: File, head: str, settings: Mapping[str, Any], named: Collection[str], *, whole: bool
) -> Dialect | None:
    """The first way in which all rows of the beginning, and then of all tables, have the same number of cells."""
    ending = ending_of(file.name)
    default = DELIMITERS[ending]
    delimiters = (default, *(each for each in COMMON_DELIMITERS if each != default))
    if "delimiter" in settings:
        delimiters = (settings["delimiter"],)
    quotings = sorted(QUOTINGS, key=lambda quoting: quoting[0] is not None) if default == "\t" else QUOTINGS
    quotings = [
        (quote, escape)
        for quote, escape in dict.fromkeys(
            (settings.get("quote", quote) or None, settings.get("escape", escape)) for quote, escape in quotings
        )
    ]
    blanks = (settings["skip_initial_space"],) if "skip_initial_space" in settings else (False, True)
    possible = [
        (way, rows)
        for delimiter in delimiters
        for (quote, escape), skip in product(quotings, blanks)
        if (rows := _rows(way := Dialect(delimiter, quote, escape, skip_initial_space=skip), head, whole=whole))
    ]
    possible.sort(key=lambda found: _rank(found[1], named))
    ways = list(dict.fromkeys(_with_blanks(_with_quotes(way, rows), rows, blanks) for way, rows in possible))
    for way in ways:
        lines = _extra_lines(source, way, ending, settings)
        if lines is None:
            continue
        # Where every line is a row by itself, a quote that joins lines is a character as any other.
        unquoted = [each for each in ways if each.delimiter == way.delimiter and each.quote is None] if lines else []
        return next((each for each in unquoted if _extra_lines(source, each, ending, settings) == 0), way)
    return ways[0] if ways else None


def _rank(rows: Sequence[Sequence[str]], named: Collection[str]) -> tuple[int, int]:
    """Small for rows whose first has the named columns, and with few cells that seem to be several numbers."""
    joined = sum(bool(SEVERAL_NUMBERS.search(cell)) for row in rows[:100] for cell in row)
    return -len(set(rows[0]) & set(named)), joined


def _with_quotes(way: Dialect, rows: Sequence[Sequence[str]]) -> Dialect:
    """With quotes where they are not part of the text: around all cells of a column, or around doubled ones."""
    if way.quote is not None or way.escape is not None:
        return way
    columns = list(zip(*rows, strict=True))
    for quote in (QUOTE, "'"):
        if any(all(len(cell) > 1 and cell[0] == cell[-1] == quote for cell in column) for column in columns):
            return replace(way, quote=quote)
    quoted = [cell for row in rows for cell in row if cell.startswith(QUOTE)]
    if all(map(QUOTED.fullmatch, quoted)) and any(QUOTE * 2 in cell[1:-1] for cell in quoted):
        return replace(way, quote=QUOTE)
    return way


def _with_blanks(way: Dialect, rows: Sequence[Sequence[str]], allowed: Collection[bool]) -> Dialect:
    """Without the blank that follows every delimiter."""
    following = (cell for row in rows for cell in row[1:] if cell)
    if True in allowed and next(following, "").startswith(" ") and all(cell.startswith(" ") for cell in following):
        return replace(way, skip_initial_space=True)
    return way


def _extra_lines(source: TableSource, way: Dialect, ending: str, settings: Mapping[str, Any]) -> int | None:
    """How many more lines than rows the tables have; None if they can't be read in this way."""
    found = {**settings, **_differing(way, ending)}
    try:
        reading = source.model_copy(update={key: _plain(value) for key, value in found.items()}).open()
        counts = [reading.size_of(file) for file in reading.files()]
    except SourceRefused:
        return None
    return sum(count.lines - count.rows for count in counts)


def _differing(way: Dialect, ending: str) -> dict[str, Any]:
    """The settings that differ from the defaults of the file's ending."""
    found: dict[str, Any] = {}
    if way.delimiter != DELIMITERS[ending]:
        found["delimiter"] = way.delimiter
    if way.quote != default_quote(ending):
        found["quote"] = way.quote
    if way.escape is not None:
        found["escape"] = way.escape
    if way.skip_initial_space:
        found["skip_initial_space"] = True
    return found


def _has_header(rows: Sequence[Sequence[str]], named: Collection[str]) -> bool:
    """Whether the first row names the columns.

    Names are no numbers, except for a range from 0 as pandas writes it, and do not come again as a value below.
    """
    first, others = rows[0], rows[1:]
    if set(first) & set(named):
        return True
    if named and all(UNNAMED.fullmatch(name) for name in named):
        return False
    if list(first) == [str(number) for number in range(len(first))]:
        return True
    if any(NUMBER.fullmatch(cell) for cell in first):
        return False
    below = [set(column) for column in zip(*(row for row in others if row != first), strict=True)]
    return not any(cell and cell in values for cell, values in zip(first, below, strict=False))
