"""Tables: CSV, JSONL and Parquet files, one sample a row."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from include.sources import _cells as cells
from include.sources._files import FileSource
from include.sources._listing import File
from include.sources._rows import SUFFIXES, Row, count_rows, read_rows
from include.sources.base import (
    MAX_SAMPLE_BYTES,
    READ_BYTES,
    SourceChanged,
    SourceRefused,
    SourceSample,
    another_source,
)

if TYPE_CHECKING:
    import numpy as np


class TableRow(NamedTuple):
    """A row and the file that it is in."""

    file: File
    row: Row


class TableSource(FileSource):
    """The rows of one file, or of all tables below a folder in the order of `include.sources._files`.

    New rows come at the end of the newest file or in new files. Rows that were sent must stay unchanged and in place:
    if their ids, labels or groups differ (without `id`, their contents too), the next batch is refused. Counting
    streams a CSV or JSONL file; a Parquet file has the count in its footer.

    Args:
        content: the column of the contents.
        content_is: `text`, sent as UTF-8; `base64` or `bytes` (Parquet's binary) in the pipeline's format; `numbers`, a
            list in JSON or Parquet for an array of `shape` and `dtype`; `path`, a file's path below the table's folder.
        label, group: columns; without one, or with an empty cell, samples have none.
        id: a column whose cells are stable and unique; without it a sample's id is its table's name and its row's
            number.
        delimiter: between the cells of CSV, if it is neither the comma of .csv nor the tab of .tsv.
    """

    kind: Literal["table"] = "table"
    suffixes: Annotated[tuple[str, ...], Field(min_length=1)] = SUFFIXES
    content: str
    content_is: Literal["text", "base64", "bytes", "numbers", "path"] = "text"
    label: str | None = None
    id: str | None = None
    group: str | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    shape: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    dtype: Literal["uint8", "int16", "int32", "float32", "float64"] = "float32"

    _counts_of: dict[File, int] = PrivateAttr(default_factory=dict)
    _hashed: tuple[int, Any] = PrivateAttr((0, None))
    _reading: tuple[int, Iterator[TableRow]] | None = PrivateAttr(None)

    @field_validator("suffixes")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for suffix in value:
            if not suffix.lower().endswith(SUFFIXES):
                raise ValueError(f"{suffix!r} ends with none of {', '.join(SUFFIXES)}")
        return value

    @model_validator(mode="after")
    def _shaped(self) -> Self:
        if (self.content_is == "numbers") != (self.shape is not None):
            raise ValueError('shape goes with content_is = "numbers", and has to be there then')
        return self

    def open(self) -> Self:
        source = super().open()
        source._counts_of, source._hashed, source._reading = {}, (0, None), None
        return source

    def count(self) -> int:
        files = self.settled()
        if files:
            self._check_rows(files)
        return sum(map(self._count_of, files))

    def read(self, start: int, count: int) -> list[SourceSample]:
        # Continuing costs nothing; any other start skips all rows before it, or a Parquet file's row groups.
        if self._reading is None or self._reading[0] != start:
            self._reading = start, self._rows(start, self._columns(self.content, self.label, self.id, self.group))
        rows = self._reading[1]
        samples: list[SourceSample] = []
        size = 0
        while len(samples) < count and size < READ_BYTES:
            row = next(rows, None)
            if row is None:
                self._reading = None
                return samples
            samples.append(self._sample(row))
            size += _size(samples[-1].content)
        self._reading = start + len(samples), rows
        return samples

    def prefix(self, position: int) -> dict[str, Any]:
        return {"rows": self._digest(position)}

    def check_prefix(self, position: int, prefix: dict[str, Any]) -> None:
        if not position:
            return
        if "rows" not in prefix:
            raise SourceChanged(another_source(position))
        if self._digest(position) != prefix["rows"]:
            raise SourceChanged(
                f"The first {position} rows of {self.path} are not those that were sent: restore them, and add new "
                "rows at the end or in a new file."
            )

    def _digest(self, position: int) -> str:
        """SHA-256 over the columns that identify the rows before `position`."""
        columns = self._columns(self.label, self.group, self.id or self.content)
        done, digest = self._hashed
        if digest is None or done > position:
            done, digest = 0, hashlib.sha256()
        for found in islice(self._rows(done, columns), position - done):
            digest.update(repr([found.row.cells[column] for column in columns]).encode(errors="surrogatepass"))
        self._hashed = position, digest
        return str(digest.copy().hexdigest())

    def _check_rows(self, files: list[File]) -> None:
        if next(self._rows(0, self._columns(self.content, self.label, self.id, self.group), files), None) is None:
            raise SourceRefused(f"Table {self.path} has no rows: correct path of [source], or fill it.")
        if self.label is None:
            return
        labels: set[str | None] = set()
        for found in self._rows(0, (self.label,), files):
            labels.add(_text(found.row.cells[self.label]))
            if len(labels) > 1:
                return
        raise SourceRefused(
            f"Table {self.path} has nothing but {labels.pop()!r} in its column {self.label!r}: add rows of another "
            "class, or name the labels' column in [source]."
        )

    def _rows(self, skip: int, columns: tuple[str, ...], files: list[File] | None = None) -> Iterator[TableRow]:
        for file in self.files() if files is None else files:
            if skip and skip >= self._count_of(file):
                skip -= self._count_of(file)
                continue
            path = self.path_of(file)
            with self.explained(path, gone=SourceChanged), self.filesystem().open(path, "rb") as stream:
                for row in read_rows(stream, file.name, columns, skip=skip, delimiter=self.delimiter):
                    yield TableRow(file, row)
            skip = 0

    def _count_of(self, file: File) -> int:
        if file not in self._counts_of:
            path = self.path_of(file)
            with self.explained(path, gone=SourceChanged), self.filesystem().open(path, "rb") as stream:
                self._counts_of[file] = count_rows(stream, file.name, delimiter=self.delimiter)
        return self._counts_of[file]

    def _columns(self, *names: str | None) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for name in names if name is not None))

    def _sample(self, found: TableRow) -> SourceSample:
        row = found.row
        identity = f"{found.file.name}:{row.number}" if self.id is None else _text(row.cells[self.id])
        if identity is None:
            raise SourceRefused(
                f"Row {row.number} of table {found.file.name} has nothing in its column {self.id!r}: give it an id."
            )
        label, group = (None if name is None else _text(row.cells[name]) for name in (self.label, self.group))
        try:
            return SourceSample(identity, self._content(found), label, group)
        except cells.NoContent as fault:
            return SourceSample(identity, b"", label, group, fault=str(fault))

    def _content(self, found: TableRow) -> bytes | np.ndarray[Any, Any]:
        cell = found.row.cells[self.content]
        if self.shape is not None:
            return cells.numbers_of(cell, self.shape, self.dtype)
        if self.content_is == "path":
            return self._beside(found, cells.text_of(cell).decode())
        read = {"text": cells.text_of, "base64": cells.base64_of, "bytes": cells.bytes_of}[self.content_is]
        return read(cell)

    def _beside(self, found: TableRow, name: str) -> bytes:
        """The content of the file that a cell names, which must be in the table's folder."""
        relative = posixpath.normpath(name)
        where = f"Row {found.row.number} of table {found.file.name} names the file {name!r}"
        if not name or f"{relative}/".startswith(("/", "../")) or "://" in name or "\0" in name:
            raise SourceRefused(f"{where}, which is not below the table's folder: correct it.")
        path = posixpath.join(posixpath.dirname(self.path_of(found.file)), relative)
        try:
            with self.explained(path):
                content: bytes = self.filesystem().cat_file(path, 0, MAX_SAMPLE_BYTES + 1)
        except SourceRefused as error:
            raise SourceRefused(f"{where}, which can't be read: add the file or remove the row.") from error
        if len(content) > MAX_SAMPLE_BYTES:
            raise cells.NoContent(f"File {name!r} has more than the {MAX_SAMPLE_BYTES} bytes that any topic takes.")
        return content


def _text(cell: Any) -> str | None:
    """A cell as an id, label or group; None where it is empty."""
    return None if cell is None or cell == "" else str(cell)


def _size(content: bytes | np.ndarray[Any, Any]) -> int:
    return len(content) if isinstance(content, bytes) else content.nbytes
