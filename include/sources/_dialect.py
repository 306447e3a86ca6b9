"""How a table's text is divided into rows and cells, and how a compressed one is opened."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, cast

from include.sources.base import SourceRefused

if TYPE_CHECKING:
    from _csv import Reader as CsvReader

DELIMITERS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
PARQUET = ".parquet"
SUFFIXES = (*DELIMITERS, *JSON_LINES, PARQUET)
# What compressed text may be called; what it is, its first bytes say.
COMPRESSED = (".gz", ".zst")
COMPRESSED_SUFFIXES = tuple(suffix + more for suffix in (*DELIMITERS, *JSON_LINES) for more in COMPRESSED)

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
# What else a file may be by its first bytes, whatever it is called, and what to do.
NO_TEXT = {
    b"PK\x03\x04": "a ZIP archive or an Excel workbook: unpack it, or save its sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an Excel workbook: save its sheet as CSV",
    b"BZh91AY&SY": "compressed by bzip2: compress it by gzip or zstd, or unpack it",
    b"\xfd7zXZ\x00": "compressed by xz: compress it by gzip or zstd, or unpack it",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive: unpack it",
    b"Rar!\x1a\x07": "a RAR archive: unpack it",
    b"PAR1": f"Parquet: let its name end with {PARQUET}",
    b"Obj\x01": "an Avro file: save it as Parquet or JSONL",
    b"ARROW1": "an Arrow file: save it as Parquet",
    b"SQLite format 3\x00": "a SQLite database: save its table as CSV",
}
UTF8 = "utf-8-sig"
QUOTE = '"'
# The csv module's default limit is 131,072 characters, and an image in base64 has more.
MAX_CELL = 128 * 2**20
# A quote that nothing closes makes one cell of all rows up to the next quote.
MAX_CELL_LINES = 1000
# Excel writes its delimiter into the first line.
SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n?")


@dataclass(frozen=True)
class Dialect:
    """How a table is read: the text of CSV, of JSONL its encoding, and of Parquet its class names.

    Attributes:
        delimiter, quote, escape: one character each; without `quote` a quote is a character as any other.
        encoding: Python's name of it; UTF-8 may begin with a byte order mark.
        header: whether the first line names the columns; they are `column_1` and so on where it does not.
        skip_initial_space: whether a blank behind a delimiter is none of the cell's.
        max_cell_lines: over how many lines at most a row may run.
        is_sure: whether a person has decided on the quote, so that rows are not suspected of being swallowed by one.
        class_names: whether the numbers of a Parquet column that Hugging Face's metadata call a `ClassLabel` become the
            names of the classes.
    """

    delimiter: str = ","
    quote: str | None = QUOTE
    escape: str | None = None
    encoding: str = UTF8
    header: bool = True
    skip_initial_space: bool = False
    max_cell_lines: int = MAX_CELL_LINES
    is_sure: bool = False
    class_names: bool = True


def csv_reader(lines: Iterable[str], dialect: Dialect) -> CsvReader:
    csv.field_size_limit(MAX_CELL)
    return csv.reader(
        lines,
        delimiter=dialect.delimiter,
        quotechar=dialect.quote or QUOTE,
        quoting=csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
        escapechar=dialect.escape,
        skipinitialspace=dialect.skip_initial_space,
        strict=True,
    )


def ending_of(name: str) -> str:
    """The suffix that says what a table is, in small letters and without that of a compression.

    Raises:
        SourceRefused: it is none of a table's.
    """
    low = name.lower()
    for compressed in COMPRESSED:
        low = low.removesuffix(compressed)
    ending = next((suffix for suffix in SUFFIXES if low.endswith(suffix)), None)
    if ending is None:
        raise SourceRefused(f"Table {name} is none of {', '.join(SUFFIXES)}: rename it, or correct path of [source].")
    return ending


def default_quote(ending: str) -> str | None:
    """Programs that write tab-separated values mostly know no quoting: GLUE, SNLI and Common Voice do not."""
    return None if ending == ".tsv" else QUOTE


@contextmanager
def decompressed(stream: IO[bytes], name: str) -> Iterator[IO[bytes]]:
    """The bytes of the table, whatever it is called.

    Raises:
        SourceRefused: the compressed file is damaged or cut short, or the file is no text.
    """
    head = stream.read(max(map(len, NO_TEXT)))
    stream.seek(0)
    for start, what in NO_TEXT.items():
        if head.startswith(start):
            raise SourceRefused(f"Table {name} is no text of a table but {what}.")
    if head.startswith(GZIP):
        try:
            with gzip.GzipFile(fileobj=stream) as opened:
                yield cast("IO[bytes]", opened)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise SourceRefused(f"Table {name} is no whole gzip file ({error}): compress it again.") from error
    elif head.startswith(ZSTD):
        import pyarrow as pa

        try:
            with pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd") as native:
                yield io.BufferedReader(native)
        except OSError as error:
            if error.errno is not None:  # a filesystem's
                raise
            raise SourceRefused(f"Table {name} is no whole zstd file ({error}): compress it again.") from error
    else:
        yield stream
