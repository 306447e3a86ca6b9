"""A survey of a table whose rows are the samples, for a new pipeline's file."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from include.codecs.row import RowCodec
from include.commands.image_format import NoPipelineFits
from include.commands.number_labels import MISSING_TEXTS, WRITTEN_NUMBER
from include.commands.survey import Survey
from include.commands.table_survey import LabelledTable
from include.errors import amount
from include.number_text import NUMBER
from include.sources.table import TableSource
from include.strict_json import parse

# Rows that are spread over the table; a column's kind shows in these.
LOOKED_AT = 2000
# Rows in which each column is read by itself where some rows can't be read.
PROBED = 20
NO_CELL = b"{}"
CODE = re.compile(r"0[0-9]+")
# A column of texts is one of categories if at most this share of them, or this many, are different.
MOST_DIFFERENT, FEW_DIFFERENT = 0.5, 20


@dataclass(frozen=True)
class _Column:
    """A column in the rows of a survey.

    Attributes:
        cells: those that are there, as JSON holds them.
        is_number: whether they are numbers, but for `missing_texts`.
        unfit: why the column is neither a number nor a category, for a person; empty otherwise.
        written: one of the cells, if most of them are numbers with other signs than a point; empty otherwise.
    """

    name: str
    cells: tuple[str, ...]
    is_number: bool
    missing_texts: tuple[str, ...]
    unfit: str
    written: str = ""


def survey_row_table(table: LabelledTable) -> Survey:
    """The rows of tables, each a sample of the columns that are named, with commas between them, or of all that fit.

    Raises:
        NoPipelineFits: no column fits.
        SourceRefused, SourceUnreachable: see `include.sources.table`.
    """
    named = [name.strip() for text in table.content for name in text.split(",")]
    # Programs that write the rows' numbers as the first column often give it no name.
    names = [name for name in dict.fromkeys(named or table.others) if name]
    if not names:
        raise NoPipelineFits(
            f"Table {table.path} has no column to learn from beside {table.settings['label']!r}: name columns with "
            "--content."
        )
    source = TableSource.model_validate(table.with_content(content=names, content_is="row")).open()
    samples = list(source.spread(LOOKED_AT))
    rows = [parse(sample.content) for sample in samples if isinstance(sample.content, bytes) and sample.content]
    textless = _without_text(table, names) if any(sample.fault for sample in samples) and not named else {}
    if textless:
        names = [name for name in names if name not in textless]
        source = TableSource.model_validate(table.with_content(content=names or ["any"], content_is="row")).open()
        samples = list(source.spread(LOOKED_AT)) if names else []
        rows = [parse(sample.content) for sample in samples if isinstance(sample.content, bytes) and sample.content]
    columns = [_column(name, rows) for name in names]
    columns += [_Column(name, (), is_number=False, missing_texts=(), unfit=fault) for name, fault in textless.items()]
    fitting = [column for column in columns if named or not column.unfit]
    if not fitting:
        raise NoPipelineFits(
            f"Table {table.path} has no column of numbers or categories beside {table.settings['label']!r} "
            f"({'; '.join(column.unfit for column in columns) or 'it has no other'}): name columns with --content."
        )
    codec = RowCodec(
        numbers=tuple(column.name for column in fitting if column.is_number),
        categories=tuple(column.name for column in fitting if not column.is_number),
        missing="mark"
        if any(len(column.cells) < len(rows) or column.missing_texts for column in fitting)
        else "refuse",
        missing_texts=tuple(sorted({text for column in fitting for text in column.missing_texts})),
    )
    whole = [sample for sample in samples if not sample.fault]
    refusals = codec.decode([sample.content for sample in whole if isinstance(sample.content, bytes)]).refusals
    faults = tuple(f"{sample.id}: {sample.fault}" for sample in samples if sample.fault)
    notes = tuple(f"Column {column.name!r} is left out: {column.unfit}." for column in columns if column not in fitting)
    notes += tuple(
        f"Column {column.name!r} is one of categories, since its numbers are written as {column.written!r}: write them "
        "as 1234.5 if they are to be numbers."
        for column in fitting
        if column.written
    )
    return Survey(
        noun="row",
        source=table.with_content(content=list(codec.columns), content_is="row"),
        codec=codec,
        form=f"{amount(len(codec.numbers), 'number')} and {amount(len(codec.categories), 'category', 'categories')}",
        largest=max(len(sample.content) for sample in samples),
        opened=len(samples),
        unfit=(*faults, *(f"{whole[position].id}: {refusal.error}" for position, refusal in refusals.items())),
        notes=(*table.notes, *notes),
        **table.counts,
    )


def _without_text(table: LabelledTable, names: Sequence[str]) -> dict[str, str]:
    """The columns all of whose cells have no single text, objects and durations for example, and why."""
    found: dict[str, str] = {}
    for name in names:
        source = TableSource.model_validate(table.with_content(content=[name], content_is="row")).open()
        samples = list(source.spread(PROBED))
        # A column with a text, or one that is empty, has rows.
        if samples and all(sample.fault or sample.content == NO_CELL for sample in samples):
            fault = next((sample.fault for sample in samples if sample.fault), None)
            found |= {} if fault is None else {name: f"its cells have no text ({fault.rstrip('.')})"}
    return found


def _column(name: str, rows: Sequence[dict[str, Any]]) -> _Column:
    cells = [row[name] for row in rows if row.get(name) is not None]
    texts = [cell for cell in cells if not _is_number(cell)]
    stand_ins = tuple(sorted(set(texts))) if set(texts) <= {*MISSING_TEXTS} else ()
    is_number = len(texts) < len(cells) and (not texts or bool(stand_ins))
    written = "" if is_number else _written(texts)
    return _Column(
        name,
        tuple(map(str, cells)),
        is_number,
        stand_ins if is_number else (),
        _unfit(cells, written, is_number=is_number),
        written,
    )


def _written(texts: Sequence[str]) -> str:
    """One of the texts if most are numbers with other signs than a point."""
    different = set(texts) - {*MISSING_TEXTS}
    written = sorted(text for text in different if WRITTEN_NUMBER.fullmatch(text))
    return written[0] if 2 * len(written) > len(different) else ""


def _is_number(cell: Any) -> bool:
    """Whether it is a number, or the text of one; digits behind a zero are a code."""
    text = str(cell).strip()
    return NUMBER.fullmatch(text) is not None and not CODE.fullmatch(text)


def _unfit(cells: Sequence[Any], written: str, *, is_number: bool) -> str:
    different = Counter(map(str, cells))
    if len(different) < 2:
        return "it has one value only" if different else "it has no value"
    if is_number:
        return "it numbers the rows" if _numbers_rows(cells) else ""
    if len(different) > max(FEW_DIFFERENT, MOST_DIFFERENT * len(cells)):
        if written:
            return f"its numbers are written as {written!r}: write them as 1234.5, with a point and no other sign"
        return f"{len(different):,} of {len(cells):,} texts are different, as of a name or a description"
    return ""


def _numbers_rows(cells: Sequence[Any]) -> bool:
    """Whether they are whole numbers in even steps, as of a row's number."""
    if not all(str(cell).isdigit() for cell in cells) or len(cells) < 3:
        return False
    numbers = [int(cell) for cell in cells]
    step = numbers[1] - numbers[0]
    return step > 0 and all(after - before == step for before, after in pairwise(numbers))
