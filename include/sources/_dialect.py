"""How a table's text is divided into rows and cells, and how a compressed one is opened."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, cast

from include.sources.base import SourceRefused

DELIMITERS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
PARQUET = ".parquet"
SUFFIXES = (*DELIMITERS, *JSON_LINES, PARQUET)
# What compressed text may be called; what it is, its first bytes say.
COMPRESSED = (".gz", ".zst")
COMPRESSED_SUFFIXES = tuple(suffix + more for suffix in (*DELIMITERS, *JSON_LINES) for more in COMPRESSED)

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
UTF8 = "utf-8-sig"
QUOTE = '"'
# A quote that nothing closes makes one cell of all rows up to the next quote.
MAX_CELL_LINES = 1000


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
        SourceRefused: the compressed file is damaged or cut short.
    """
    head = stream.read(len(ZSTD))
    stream.seek(0)
    if head.startswith(GZIP):
        try:
            with gzip.GzipFile(fileobj=stream) as opened:
                yield cast("IO[bytes]", opened)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise SourceRefused(f"Table {name} is no whole gzip file ({error}): compress it again.") from error
    elif head == ZSTD:
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
