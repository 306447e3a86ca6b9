"""A survey of the rows of a table, whatever its samples are: columns, labels, their order, and groups."""

import posixpath
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any

from include.commands.group_columns import GroupColumn, choose_group, likely_groups
from include.commands.image_format import NoPipelineFits
from include.commands.label_doubts import label_doubts
from include.commands.number_labels import LabelTask, NumberLabels, names_in_lists, number_labels
from include.commands.pipeline_file import MAX_FIRST_BATCH
from include.commands.survey import FEWEST, LOOKED_AT, OPENED_BYTES, existing, several
from include.commands.table_dialect import FoundDialect, find_dialect
from include.definition.tables import MAX_BATCH_RECORDS
from include.sources import COMPRESSED_SUFFIXES
from include.sources.base import SourceRefused, SourceSample
from include.sources.table import TableSource
from include.targets.base import plain_label

# A column with more values is one of classes only if most of them come several times.
MANY_CLASSES = 1000
ROWS_OF_A_CLASS = 2
# Rows of a class that follow each other are by chance if there are more changes than this share of those expected.
SORTED_SHARE = 0.2
FEWEST_ROWS_TO_BE_SORTED = 20
SHOWN_COLUMNS, SHOWN_TEXT, SHOWN_CLASSES = 20, 30, 5
# Ids that are compared with all before them.
MAX_IDS = 1_000_000
# Folders in which the files that a column names are searched, and the names that are tried.
SEARCHED_FOLDERS, TRIED_NAMES = 200, 8


@dataclass(frozen=True)
class TableRequest:
    """What a person says of a table; what is missing is found by a look at it.

    Attributes:
        content: columns, or patterns of columns; none for all others of a row.
        group: a column; empty for none.
        task: whether labels are classes or numbers to estimate.
        dialect: keys of `[source]` and their values.
    """

    path: str
    content: tuple[str, ...] = ()
    label: str | None = None
    sample_id: str | None = None
    group: str | None = None
    folder: str | None = None
    task: LabelTask | None = None
    dialect: Mapping[str, Any] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """What is named; the columns of a row may be one text with commas."""
        parts = [part.strip() for text in self.content for part in text.split(",")]
        return [name for name in (*self.content, *parts, self.label, self.sample_id, self.group) if name]


@dataclass(frozen=True)
class LabelledTable:
    """Tables whose rows are counted.

    Attributes:
        settings: the `[source]` table without its content.
        content: the columns of the content; empty where a person has named none.
        others: the columns that are neither label, id nor group.
        labels: rows of each class, in order of name; none of a regression.
        labelled: rows with a label, where each may have several.
        numbers: the labels of a regression.
        unlabelled: rows without one.
        notes: sentences for the user.
        folder: where a person says that the files are which the content names.
        group: the column whose values are groups.
        group_hint: a column whose values may be groups, for a person to decide.
    """

    settings: dict[str, Any]
    content: tuple[str, ...]
    others: tuple[str, ...]
    labels: dict[str, int]
    labelled: int | None
    numbers: NumberLabels | None
    unlabelled: int
    notes: tuple[str, ...]
    folder: str | None = None
    group: GroupColumn | None = None
    group_hint: str | None = None

    @property
    def path(self) -> str:
        return str(self.settings["path"])

    @property
    def column(self) -> str:
        """The one column of the content.

        Raises:
            NoPipelineFits: there are several.
        """
        if len(self.content) > 1:
            raise NoPipelineFits(
                f"The columns {', '.join(map(repr, self.content[:SHOWN_COLUMNS]))} are several and this modality takes "
                "the content of one: name one with --content."
            )
        return self.content[0]

    def with_content(self, **content: Any) -> dict[str, Any]:
        """The `[source]` table; `content` has its keys on the content."""
        first = {key: self.settings[key] for key in ("kind", "path")}
        return {**first, **content, **self.settings}

    @property
    def counts(self) -> dict[str, Any]:
        """What a survey has of its table, whatever the samples are."""
        return {
            "labels": self.labels,
            "labelled": self.labelled,
            "numbers": self.numbers,
            "unlabelled": self.unlabelled,
            "group": self.group,
            "group_hint": self.group_hint,
        }


def survey_rows(request: TableRequest, noun: str | None) -> LabelledTable:
    """Find how the tables are written, and count their labels and groups.

    Args:
        noun: names a sample in an error; None where the row itself is the sample.

    Raises:
        NoPipelineFits: content or label is not named, or there are no classes to train on.
        SourceRefused, SourceUnreachable: see `include.sources.table`, such as for a missing column.
    """
    settings, dialect, notes = _opened(request)
    source = TableSource.model_validate({**settings, "content": request.label or "any"}).open()
    if request.label is None or (noun and not request.content):
        named = f"that of the {noun}s with --content and " if noun else ""
        raise NoPipelineFits(
            f"Table {request.path} has the columns {_shown_columns(source, dialect) or 'none'}: name {named}that of "
            "the class with --label."
        )
    settings["label"] = request.label
    if request.sample_id is not None:
        settings["id"] = request.sample_id
    columns = _columns(source)
    unnamed = [name for name in columns if not any(name == part or fnmatchcase(name, part) for part in request.columns)]
    likely = likely_groups(source, unnamed) if request.group is None else [name for name in [request.group] if name]
    counted = _count(source, request.label, likely)
    if request.sample_id is not None:
        notes += _id_notes(source, request.sample_id)
    numbers, label_notes = number_labels(request.label, counted.labels, request.task)
    notes += label_notes
    lists = names_in_lists(counted.labels) if request.task is None else None
    if lists is not None:
        labels = dict(sorted(lists.items()))
    elif numbers is None:
        labels = _classes(source, request.label, counted)
        notes += label_doubts(request.label, labels) if request.task is None else []
        notes += _order_notes(counted)
    else:
        labels = {}
        notes += numbers.order_note(counted.first, MAX_FIRST_BATCH) if counted.rows > MAX_FIRST_BATCH else []
    # A feature of a row may have as many values as a group has.
    is_row = noun is None
    group, hint, said = choose_group(counted.groups, counted.labels, chosen=bool(request.group), hint=not is_row)
    if group is not None:
        settings["group"] = group.name
    roles = {settings.get(role) for role in ("label", "id", "group")}
    return LabelledTable(
        settings=settings,
        content=request.content,
        others=tuple(name for name in columns if name not in roles),
        labels=labels,
        labelled=None if lists is None else counted.labels.total(),
        numbers=numbers,
        unlabelled=counted.rows - counted.labels.total(),
        notes=(*notes, *said),
        folder=request.folder,
        group=group,
        group_hint=hint,
    )


def stored_files(
    table: LabelledTable, noun: str, fits: Callable[[Any], bool]
) -> tuple[dict[str, Any], list[SourceSample]]:
    """The `[source]` table for files in or beside the rows, and samples from rows spread over the tables.

    Args:
        noun: names what is expected.
        fits: whether a content is such a file.

    Raises:
        NoPipelineFits: the column has none.
    """
    column = table.column
    for content_is in ("bytes", "base64", "path"):
        content: dict[str, Any] = {"content": column, "content_is": content_is}
        if content_is == "path":
            content |= _files_folder(table, column)
        settings = table.with_content(**content)
        source = TableSource.model_validate(settings).open()
        first = next(source.spread(1), None)
        size = len(first.content) if first else 0
        # All of them are in memory.
        samples = list(source.spread(min(LOOKED_AT, max(FEWEST, OPENED_BYTES // max(1, size)))))
        if any(fits(sample.content) for sample in samples):
            return settings, samples
    raise NoPipelineFits(
        f"Column {column!r} of {table.path} has no {noun} in rows spread over it, neither as bytes nor as base64 nor "
        "as the path of a file below the table's folder or a folder beside that: name the column with --content, or "
        "the files' folder with --folder."
    )


def _opened(request: TableRequest) -> tuple[dict[str, Any], FoundDialect, list[str]]:
    """The `[source]` table without columns, and how the text is written."""
    path = existing(request.path)
    settings: dict[str, Any] = {"kind": "table", "path": path}
    if compressed := _compressed_alone(path):
        settings["suffixes"] = compressed
    found = find_dialect(
        TableSource.model_validate({**settings, "content": "any"}).open(), request.dialect, request.columns
    )
    return {**settings, **found.settings}, found, list(found.notes)


def _compressed_alone(path: str) -> list[str]:
    """The endings of compressed tables in a folder that has no others."""
    try:
        TableSource(path=path, content="any").open().files()
    except SourceRefused:
        found = TableSource(path=path, content="any", suffixes=COMPRESSED_SUFFIXES).open()
        try:
            names = [file.name.lower() for file in found.files()]
        except SourceRefused:
            return []
        return [suffix for suffix in COMPRESSED_SUFFIXES if any(name.endswith(suffix) for name in names)]
    return []


def _columns(source: TableSource) -> list[str]:
    """The columns of the first table; none if they can't be read."""
    try:
        return source.columns()
    except SourceRefused:
        return []


def _shown_columns(source: TableSource, dialect: FoundDialect) -> str:
    columns = _columns(source)
    cells = {name: f" ({cell[:SHOWN_TEXT]!r})" for name, cell in zip(columns, dialect.first_row, strict=False)}
    shown = ", ".join(f"{name!r}{cells.get(name, '')}" for name in columns[:SHOWN_COLUMNS])
    left = len(columns) - SHOWN_COLUMNS
    return f"{shown} and {left:,} more" if left > 0 else shown


# Labels ---------------------------------------------------------------------------------------------------------------


@dataclass
class _RowCounts:
    """What all rows show.

    Attributes:
        changes: how often a row's label differs from the one before.
        first: the labels of the rows of the first batch.
        groups: by column.
    """

    rows: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    changes: int = 0
    first: set[str] = field(default_factory=set)
    groups: dict[str, GroupColumn] = field(default_factory=dict)


def _count(source: TableSource, label: str, groups: Sequence[str]) -> _RowCounts:
    counted = _RowCounts(groups={name: GroupColumn(name) for name in groups})
    columns = list(counted.groups.values())
    before = None
    for text, *values in source.texts([label, *groups]):
        counted.rows += 1
        for column, value in zip(columns, values, strict=True):
            column.add(value, text)
        if text is None:
            continue
        name = plain_label(text)
        counted.labels[name] += 1
        counted.changes += name != before
        before = name
        if counted.rows <= MAX_FIRST_BATCH:
            counted.first.add(name)
    if not counted.rows:
        raise NoPipelineFits(f"Table {source.path} has no rows: fill it, or correct --path.")
    return counted


def _classes(source: TableSource, label: str, counted: _RowCounts) -> dict[str, int]:
    labels = counted.labels
    if not labels:
        raise NoPipelineFits(
            f"Column {label!r} of {source.path} has no label in {counted.rows:,} rows, since its cells are empty or "
            "have no text, as an object of fields has none: name another column with --label, or make a field a column."
        )
    if len(labels) > MANY_CLASSES and labels.total() < ROWS_OF_A_CLASS * len(labels):
        raise NoPipelineFits(
            f"Column {label!r} of {source.path} has {len(labels)} values in {counted.rows} rows: name the column of "
            "the class with --label."
        )
    return several(f"Column {label!r} of {source.path} has rows", labels)


def _id_notes(source: TableSource, column: str) -> list[str]:
    ids: set[str] = set()
    for (text,) in source.texts([column]):
        if text in ids:
            note = (
                f"Column {column!r} is no id: {text!r} for instance comes in several rows, whose predictions could not "
                "be told apart. Name a column of unique ids with --id, or leave it out to number the rows."
            )
            return [note]
        if text is not None and len(ids) < MAX_IDS:
            ids.add(text)
    return []


def _order_notes(counted: _RowCounts) -> list[str]:
    """What the order of the rows does to the first model."""
    labels, rows = counted.labels, counted.rows
    missing = sorted(set(labels) - counted.first)
    total = labels.total()
    expected = total * (1 - sum((count / total) ** 2 for count in labels.values())) if total else 0
    is_sorted = total >= FEWEST_ROWS_TO_BE_SORTED and counted.changes < SORTED_SHARE * expected
    if not missing and not is_sorted:
        return []
    what = "The rows are sorted by class" if is_sorted else "The classes are not evenly spread over the rows"
    if rows <= MAX_FIRST_BATCH:
        return [f"{what}; all of them come in the first batch, so that the first model learns every class."]
    has = f"the first {MAX_FIRST_BATCH:,} have only {len(counted.first):,} of {len(labels):,} classes"
    named = ", ".join(map(repr, missing[:SHOWN_CLASSES])) + (" and others" if len(missing) > SHOWN_CLASSES else "")
    lacks = f"{has} ({named} come later)" if missing else f"the first {MAX_FIRST_BATCH:,} have few rows of some classes"
    larger = f", or set records = {rows} in [ingest] of the file" if rows <= MAX_BATCH_RECORDS else ""
    note = (
        f"{what}: {lacks}, and the first model learns from no others. Shuffle the rows of the table before the first "
        f"ingest{larger}."
    )
    return [note]


# Files beside a table -------------------------------------------------------------------------------------------------


def _files_folder(table: LabelledTable, column: str) -> dict[str, Any]:
    """The setting `folder`, where the files that a column names are not in the table's own folder."""
    if table.folder is not None:
        return {"folder": existing(table.folder)}
    source = TableSource.model_validate({**table.settings, "content": column}).open()
    filesystem = source.filesystem()
    own = posixpath.dirname(source.path_of(source.files()[0]))
    step = max(1, sum(source.size_of(file).rows for file in source.files()) // TRIED_NAMES)
    cells = (cells[0] for cells in source.texts([column], step=step))
    names = [name.replace("\\", "/") for name in islice(cells, TRIED_NAMES) if name and "\0" not in name]
    if not names:
        return {}
    parent = posixpath.dirname(own)
    for tried in [own, *_folders_in(filesystem, own), *_folders_in(filesystem, parent), parent]:
        there = sum(filesystem.isfile(posixpath.join(tried, name)) for name in names)
        if 2 * there >= len(names):
            return {} if tried == own else {"folder": _as_written(source, tried)}
    return {}


def _folders_in(filesystem: Any, folder: str) -> list[str]:
    try:
        entries = filesystem.ls(folder, detail=True)
    except OSError:
        return []
    found = sorted(str(entry["name"]).rstrip("/") for entry in entries if entry["type"] == "directory")
    return [path for path in found if path != folder][:SEARCHED_FOLDERS]


def _as_written(source: TableSource, folder: str) -> str:
    return str(source.filesystem().unstrip_protocol(folder)) if "://" in source.path else existing(folder)
