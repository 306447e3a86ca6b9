"""Sources of samples. A kind is one file; helpers are `_name.py`, with their public names here."""

from include.sources._dialect import (
    COMPRESSED_SUFFIXES,
    DELIMITERS,
    PARQUET,
    QUOTE,
    SEPARATOR_LINE,
    UTF8,
    Dialect,
    csv_reader,
    default_quote,
    ending_of,
)
from include.sources._files import FileSource
from include.sources._listing import File
from include.sources._sent_files import Step

__all__ = [
    "COMPRESSED_SUFFIXES",
    "DELIMITERS",
    "PARQUET",
    "QUOTE",
    "SEPARATOR_LINE",
    "UTF8",
    "Dialect",
    "File",
    "FileSource",
    "Step",
    "csv_reader",
    "default_quote",
    "ending_of",
]
