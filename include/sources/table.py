"""Tables: CSV, JSONL and Parquet files, one sample a row."""

from __future__ import annotations

import codecs
import hashlib
import logging
import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from itertools import islice
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from include.field_text import NoSingleText
from include.sources import _cells as cells
from include.sources._dialect import (
    COMPRESSED_SUFFIXES,
    DELIMITERS,
    MAX_CELL_LINES,
    QUOTE,
    SUFFIXES,
    UTF8,
    Dialect,
    decompressed,
    default_quote,
    ending_of,
)
from include.sources._files import FileSource
from include.sources._links import is_below, is_local, real_path
from include.sources._listing import File
from include.sources._rows import Row, TableSize, columns_of, count_rows, read_rows
from include.sources.base import MAX_SAMPLE_BYTES, SourceChanged, SourceRefused, SourceSample, another_source, take

if TYPE_CHECKING:
    import numpy as np
    from fsspec import AbstractFileSystem

log = logging.getLogger(__name__)

Character = Annotated[str, Field(min_length=1, max_length=1)]
ColumnName = Annotated[str, Field(min_length=1)]
WILDCARDS = "*?["
# Contents of several columns.
PATTERNED = ("numbers", "row")


class TableRow(NamedTuple):
    """A row and the file that it is in."""

    file: File
    row: Row


class TableSource(FileSource):
    """The rows of one file, or of all tables below a folder in the order of `include.sources._files`.

    New rows come at the end of the newest file or in new files. Rows that were sent must stay unchanged and in place:
    if their ids, labels or groups differ (without `id`, their contents too), the next batch is refused. Counting
    streams a CSV or JSONL file; a Parquet file has the count in its footer. Text compressed by gzip or zstd is
    recognised by its first bytes. A folder `column=value` gives its tables a column.

    Labels, groups and ids are the cells' text by `include.field_text`; a row whose cell has no text by it is left out.

    Args:
        content: the column of the contents. With `content_is = "numbers"` it may be several columns, each of one
            number, and with `"row"` the columns of the row, by a list of their names or a pattern such as `pixel*`. A
            pattern takes none of the other columns that are named here, and puts what it finds in the order of the
            numbers in the names.
        content_is: `text`, sent as UTF-8; `base64` or `bytes` (Parquet's binary) in the pipeline's format; `numbers`, a
            list or a text such as `70 80 82` for an array of `shape` and `dtype`; `path`, a file's path below `folder`;
            `row`, a JSON object of the columns, for the format `row`.
        label, group: columns; without one, or with a missing cell, samples have none.
        id: a column whose cells are stable and unique; without it a sample's id is its table's name and its row's
            number.
        folder: the folder of the files that a column names; by default that of the table.
        delimiter: between the cells of CSV, if it is neither the comma of .csv nor the tab of .tsv.
        quote: around cells of CSV that contain a delimiter; empty for none, which is the default of .tsv.
        escape: before a delimiter or quote that belongs to the cell.
        encoding: of CSV and JSONL, by Python's name; UTF-8 without it.
        header: whether the first line names the columns of CSV; they are `column_1` and so on where it does not.
        skip_initial_space: whether a blank after a delimiter is skipped.
        max_cell_lines: the most lines of a row of CSV; a row that a lone quote has made of many is refused by it.
        class_names: whether the numbers of a `ClassLabel` in Hugging Face's Parquet files become the names.
    """

    kind: Literal["table"] = "table"
    suffixes: Annotated[tuple[str, ...], Field(min_length=1)] = SUFFIXES
    content: ColumnName | Annotated[tuple[ColumnName, ...], Field(min_length=1)]
    content_is: Literal["text", "base64", "bytes", "numbers", "path", "row"] = "text"
    label: str | None = None
    id: str | None = None
    group: str | None = None
    folder: Annotated[str, Field(min_length=1)] | None = None
    delimiter: Character | None = None
    quote: Annotated[str, Field(max_length=1)] | None = None
    escape: Character | None = None
    encoding: str | None = None
    header: bool = True
    skip_initial_space: bool = False
    max_cell_lines: Annotated[int, Field(ge=1)] = MAX_CELL_LINES
    class_names: bool = True
    shape: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    dtype: Literal["uint8", "int16", "int32", "float32", "float64"] = "float32"

    _sizes: dict[File, TableSize] = PrivateAttr(default_factory=dict)
    _hashed: tuple[int, Any] = PrivateAttr((0, None))
    _reading: tuple[int, Iterator[SourceSample]] | None = PrivateAttr(None)
    _contents: tuple[str, ...] | None = PrivateAttr(None)

    @field_validator("suffixes")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for suffix in value:
            if not suffix.lower().endswith((*SUFFIXES, *COMPRESSED_SUFFIXES)):
                raise ValueError(f"{suffix!r} ends with none of {', '.join((*SUFFIXES, *COMPRESSED_SUFFIXES))}")
        return value

    @field_validator("encoding")
    @classmethod
    def _of_text(cls, value: str | None) -> str | None:
        try:
            "".encode(value or UTF8)
        except LookupError as error:
            raise ValueError(f"no text encoding of Python is called {value!r}; take utf-16 or cp1252, say") from error
        return value

    @model_validator(mode="after")
    def _shaped(self) -> Self:
        if (self.content_is == "numbers") != (self.shape is not None):
            raise ValueError('shape goes with content_is = "numbers", and has to be there then')
        if not isinstance(self.content, str) and self.content_is not in PATTERNED:
            raise ValueError('several columns are one content with content_is = "numbers" or "row" only')
        if self.folder is not None and self.content_is != "path":
            raise ValueError('folder goes with content_is = "path"')
        return self

    def open(self) -> Self:
        source = super().open()
        source._forget()
        return source

    def _forget(self) -> None:
        self._sizes, self._hashed, self._reading, self._contents = {}, (0, None), None, None

    def count(self) -> int:
        files = self.settled()
        if files:
            self._check_rows(files)
        return sum(self.size_of(file).rows for file in files)

    def read(self, start: int, count: int) -> list[SourceSample]:
        # Continuing costs nothing; any other start skips all rows before it, or a Parquet file's row groups.
        if self._reading is None or self._reading[0] != start:
            self._reading = start, self._samples(self._rows(start, self._sample_columns()))
        reading = self._reading[1]
        samples = take(reading, count)
        self._reading = (start + len(samples), reading) if samples else None
        return samples

    def spread(self, number: int) -> Iterator[SourceSample]:
        """At most `number` samples, spread evenly over all tables."""
        step = max(1, -(-sum(self.size_of(file).rows for file in self.files()) // number))
        return self._samples(self._rows(0, self._sample_columns(), step=step))

    def columns(self) -> list[str]:
        """The columns of the first table."""
        file = self.files()[0]
        with self._stream(file) as stream:
            return columns_of(stream, file.name, self.dialect_of(file))

    @contextmanager
    def opened(self, file: File) -> Iterator[IO[bytes]]:
        """The bytes of a file, decompressed."""
        with self._stream(file) as stream, decompressed(stream, file.name) as plain:
            yield plain

    @contextmanager
    def _stream(self, file: File) -> Iterator[IO[bytes]]:
        path = self.path_of(file)
        with self.explained(path, gone=SourceChanged), self.filesystem().open(path, "rb") as stream:
            yield stream

    def texts(self, columns: Sequence[str], *, step: int = 1) -> Iterator[list[str | None]]:
        """The texts of these columns in every `step`-th row; None where a cell is missing or has no text."""
        for found in self._rows(0, tuple(columns), step=step):
            yield [_text_or_none(found.row, column) for column in columns]

    def content_columns(self) -> tuple[str, ...]:
        """The columns of the contents, once patterns have found theirs in the first table.

        Raises:
            SourceRefused: a pattern finds none.
        """
        if self._contents is None:
            named = (self.content,) if isinstance(self.content, str) else self.content
            patterns = self.content_is in PATTERNED and any(any(sign in name for sign in WILDCARDS) for name in named)
            self._contents = self._matching(named, self.columns()) if patterns else named
        return self._contents

    def size_of(self, file: File) -> TableSize:
        """Rows and lines of a file; they are counted once."""
        if file not in self._sizes:
            with self._stream(file) as stream:
                found = self._sizes[file] = count_rows(stream, file.name, self.dialect_of(file))
            if found.lines > found.rows:
                log.warning(
                    f"Table {file.name} has {found.rows} rows on {found.lines} lines: quoted cells run over several "
                    f"lines, the first at line {found.first_long}."
                )
        return self._sizes[file]

    def dialect_of(self, file: File) -> Dialect:
        ending = ending_of(file.name)
        return Dialect(
            delimiter=self.delimiter or DELIMITERS.get(ending, ","),
            quote=default_quote(ending) if self.quote is None else self.quote or None,
            escape=self.escape,
            encoding=UTF8 if self.encoding is None or _is_utf8(self.encoding) else self.encoding,
            header=self.header,
            skip_initial_space=self.skip_initial_space,
            max_cell_lines=self.max_cell_lines,
            is_sure=self.quote is not None,
            class_names=self.class_names,
        )

    def resume(self, position: int, prefix: dict[str, Any], most: int) -> Self:  # noqa: ARG002
        return self._as_before(position, prefix)

    def again(self, start: int, count: int, prefix: dict[str, Any]) -> Self:
        return self._as_before(start + count, prefix)

    def _as_before(self, position: int, prefix: dict[str, Any]) -> Self:
        """This source; or with quoting, if only that gives the rows of a .tsv that were sent.

        Earlier versions read a .tsv with quoting by default.
        """
        try:
            self.check_prefix(position, prefix)
        except (SourceChanged, SourceRefused):
            if self.quote is not None or not any(ending_of(file.name) == ".tsv" for file in self.files()):
                raise
            quoted = self.model_copy(update={"quote": QUOTE})
            quoted._forget()
            with suppress(SourceChanged, SourceRefused):
                quoted.check_prefix(position, prefix)
                log.warning(
                    f"The first {position} rows of {self.path} were read with quotes around cells, and so is what "
                    """follows: say quote = '"' in [source], so that this is fixed."""
                )
                return quoted
            raise
        return self

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
        """SHA-256 over the columns that identify the rows before `position`.

        It is of the cells and not of their texts: another conversion to text changes no digest of a source in use.
        """
        columns = self._columns(self.label, self.group, *((self.id,) if self.id else self.content_columns()))
        done, digest = self._hashed
        if digest is None or done > position:
            done, digest = 0, hashlib.sha256()
        for found in islice(self._rows(done, columns), position - done):
            digest.update(repr(list(map(found.row.cells.__getitem__, columns))).encode(errors="surrogatepass"))
        self._hashed = position, digest
        return str(digest.copy().hexdigest())

    def _check_rows(self, files: list[File]) -> None:
        if next(self._rows(0, self._sample_columns(), files), None) is None:
            raise SourceRefused(f"Table {self.path} has no rows: correct path of [source], or fill it.")
        if self.label is None:
            return
        labels: set[str | None] = set()
        for found in self._rows(0, (self.label,), files):
            try:
                labels.add(found.row.text(self.label))
            except NoSingleText:
                continue  # its row is left out
            if len(labels) > 1:
                return
        named = f"nothing but {labels.pop()!r}" if labels else "no text"
        raise SourceRefused(
            f"Table {self.path} has {named} in its column {self.label!r}: add rows of another class, or name the "
            "labels' column in [source]."
        )

    def _rows(
        self, skip: int, columns: tuple[str, ...], files: list[File] | None = None, *, step: int = 1
    ) -> Iterator[TableRow]:
        for file in self.files() if files is None else files:
            if skip and skip >= self.size_of(file).rows:
                skip -= self.size_of(file).rows
                continue
            row = None
            with self._stream(file) as stream:
                for row in read_rows(stream, file.name, columns, skip=skip, step=step, dialect=self.dialect_of(file)):
                    yield TableRow(file, row)
            if step > 1:
                following = skip if row is None else row.number - 1 + step
                skip = following - self.size_of(file).rows
            else:
                skip = 0

    def _sample_columns(self) -> tuple[str, ...]:
        return self._columns(*self.content_columns(), self.label, self.id, self.group)

    def _columns(self, *names: str | None) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for name in names if name is not None))

    def _matching(self, named: tuple[str, ...], found: list[str]) -> tuple[str, ...]:
        others = {self.label, self.id, self.group}
        matching: dict[str, None] = {}
        for name in named:
            if name in found:
                matching[name] = None
                continue
            columns = [column for column in found if column not in others and fnmatchcase(column, name)]
            if not columns:
                raise SourceRefused(
                    f"No column of table {self.path} fits {name!r}, its columns are "
                    f"{', '.join(map(repr, found)) or 'none'}: correct content of [source]."
                )
            matching.update(dict.fromkeys(sorted(columns, key=_by_numbers)))
        return tuple(matching)

    def _includes(self, file: File) -> bool:
        # A compressed table is one if path or suffixes name it: beside a plain one it may be a copy.
        named = self.path.endswith(file.name) and self.path.lower().endswith(COMPRESSED_SUFFIXES)
        return (named and self.suffixes == SUFFIXES) or super()._includes(file)

    def _samples(self, rows: Iterator[TableRow]) -> Iterator[SourceSample]:
        content_of = self._content_reader()
        # Attributes of a pydantic model are slow to get.
        sample_id, label, group = self.id, self.label, self.group
        for found in rows:
            row = found.row
            name = None
            try:
                name = _row_name(found) if sample_id is None else row.text(sample_id)
                label_text = None if label is None else row.text(label)
                group_text = None if group is None else row.text(group)
            except NoSingleText as error:
                yield SourceSample(name or _row_name(found), b"", fault=self._which_cell(found, error))
                continue
            if name is None:
                raise SourceRefused(
                    f"Row {row.number} of table {found.file.name} has nothing in its column {sample_id!r}: fill it."
                )
            try:
                content = content_of(found)
            except cells.NoContent as fault:
                yield SourceSample(name, b"", label_text, group_text, fault=str(fault))
            else:
                yield SourceSample(name, content, label_text, group_text)

    def _which_cell(self, found: TableRow, error: NoSingleText) -> str:
        for column in self._columns(self.id, self.label, self.group):
            try:
                found.row.text(column)
            except NoSingleText:
                return f"In column {column!r} of row {found.row.number} of table {found.file.name}: {error}"
        raise ValueError("Every cell of the row has a text.")

    def _content_reader(self) -> Callable[[TableRow], bytes | np.ndarray[Any, Any]]:
        columns, shape, dtype = self.content_columns(), self.shape, self.dtype
        column = columns[0]
        if shape is not None and columns != (self.content,):
            return lambda found: cells.numbers_of(
                [cells.number_of(column, found.row.cells[column]) for column in columns], shape, dtype
            )
        if shape is not None:
            return lambda found: cells.numbers_of(found.row.cells[column], shape, dtype)
        if self.content_is == "row":
            return lambda found: cells.row_of(found.row.cells, found.row.texts, columns)
        if self.content_is == "path":
            return lambda found: self._file_named(found, cells.text_of(found.row.cells[column]).decode())
        read = {"text": cells.text_of, "base64": cells.base64_of, "bytes": cells.bytes_of}[self.content_is]
        return lambda found: read(found.row.cells[column])

    def _file_named(self, found: TableRow, name: str) -> bytes:
        """The content of the file that a cell names, which must be in `folder` or the table's folder."""
        if not name:
            raise cells.NoContent("The cell names no file.")
        if self.folder is not None:
            filesystem, folder = self.resolved(self.folder)
        else:
            filesystem, folder = self.filesystem(), posixpath.dirname(self.path_of(found.file))
        # Windows divides paths by backslashes; elsewhere one may be part of a name.
        names = [name] if "\\" not in name else [name, name.replace("\\", "/")]
        for each in names:
            relative = posixpath.normpath(each)
            if f"{relative}/".startswith(("/", "../")) or "://" in each or "\0" in each:
                where = "folder of [source]" if self.folder else "the table's folder"
                raise SourceRefused(
                    f"Row {found.row.number} of table {found.file.name} names the file {name!r}, which is not below "
                    f"{where}: correct the cell, or name another folder in [source]."
                )
            path = posixpath.join(folder, relative)
            if is_local(filesystem) and not self._may_read(filesystem, path, folder):
                continue
            with self.explained(path):
                try:
                    content: bytes = filesystem.cat_file(path, 0, MAX_SAMPLE_BYTES + 1)
                except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                    continue
            if len(content) > MAX_SAMPLE_BYTES:
                raise cells.NoContent(f"File {name!r} has more than the {MAX_SAMPLE_BYTES} bytes that any topic takes.")
            return content
        raise cells.NoContent(f"File {name!r} is not in {folder}: add it, or correct the cell or folder of [source].")

    def _may_read(self, filesystem: AbstractFileSystem, path: str, folder: str) -> bool:
        """Whether a local path is that of a file, and follows no link out of its folder.

        Raises:
            cells.NoContent: it follows one.
        """
        real = real_path(path)
        if not filesystem.isfile(real):
            return False
        if not self.follow_links and not is_below(real, real_path(folder)):
            raise cells.NoContent(
                f"File {path!r} is reached by a link that leads out of {folder}: set follow_links = true in [source] "
                "to follow it."
            )
        return True


def _text_or_none(row: Row, column: str) -> str | None:
    try:
        return row.text(column)
    except NoSingleText:
        return None


def _row_name(found: TableRow) -> str:
    return f"{found.file.name}:{found.row.number}"


def _by_numbers(name: str) -> list[tuple[int, str]]:
    """A key that puts pixel10 behind pixel9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", name)]


def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")
