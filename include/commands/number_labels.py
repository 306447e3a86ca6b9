"""Labels of a table that are not classes to tell apart: numbers to estimate, and lists of labels."""

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from include.commands.image_format import NoPipelineFits
from include.errors import amount
from include.field_text import NoSingleText, field_text
from include.refusal import Refusal
from include.strict_json import json_or_none
from include.targets.regression import Regression

# Numbers as people write them: 1,5 and 1.234,50 and 1,234 and 5% and $3.
WRITTEN_NUMBER = re.compile(
    r"[-+\u2212]?(\d+,\d+|\d{1,3}([.,'\s]\d{3})+([.,]\d+)?|[$€£¥]\s?\d+([.,]\d+)*|\d+([.,]\d+)*\s?[%$€£¥])"
    r"|\u2212\d+(\.\d+)?"
)
# What programs write for a missing number, in a column that has numbers otherwise.
MISSING_TEXTS = ("NA", "N/A", "n/a", "NULL", "null", "None", "none", "?", "-", ".")
LabelTask = Literal["classification", "regression"]
# Up to this many different numbers are taken as the names of classes.
MAX_NUMBERED_CLASSES = 20
# A table may come in several batches; the first should have at least this share of the numbers' range.
LEAST_RANGE = 0.5
# More are numbers to estimate if some have a fraction, or if each has fewer rows than the first number; than the second
# where they count from 0 or 1 without a gap, as codes of classes do.
ROWS_OF_A_NUMBERED_CLASS, FEWEST_ROWS_OF_A_NUMBERED_CLASS = 20, 2


@dataclass(frozen=True)
class NumberLabels:
    """The numbers of a column.

    Attributes:
        samples: rows with a label.
        different: how many different numbers these have.
    """

    column: str
    samples: int
    different: int
    lowest: float
    highest: float

    @property
    def note(self) -> str:
        """What the file says of them, for the user."""
        return (
            f"Column {self.column!r} has {self.different:,} different numbers, {self.lowest:g} to {self.highest:g}: "
            "the file says to estimate the number (a regression). If each is a class, use --task classification."
        )

    def order_note(self, first: Collection[str], rows: int) -> list[str]:
        """A sentence for the user where the first rows have a part of the range only.

        Args:
            first: the labels of the first `rows` rows.
        """
        known = _numbers(self.column, first).values()
        if not known or max(known) - min(known) >= LEAST_RANGE * (self.highest - self.lowest):
            return []
        note = (
            f"The first {rows:,} rows have numbers from {min(known):g} to {max(known):g} only, and the first model "
            "learns from no others: shuffle the rows of the table before the first ingest."
        )
        return [note]


def number_labels(
    column: str, labels: Mapping[str, int], task: LabelTask | None
) -> tuple[NumberLabels | None, list[str]]:
    """The numbers to estimate, None where the labels are classes, and sentences for the user.

    Args:
        labels: rows by the text of their label.
        task: what a person says that they are; None to decide it by the texts.

    Raises:
        NoPipelineFits: numbers are asked for, and there are not two different ones.
    """
    if task == "classification":
        return None, []
    numbers = _numbers(column, labels)
    others = [text for text in labels if text not in numbers]
    written = [text for text in others if WRITTEN_NUMBER.fullmatch(text)]
    many = len(numbers) + len(written) > MAX_NUMBERED_CLASSES
    if written and (many or task == "regression") and {*others} <= {*MISSING_TEXTS, *written}:
        raise NoPipelineFits(
            f"Column {column!r} has numbers that are written as {written[0]!r}: write them as 1234.5, with a point and "
            "no other sign, or use --task classification if each is a class."
        )
    if task is None and (len(numbers) <= MAX_NUMBERED_CLASSES or not {*others} <= {*MISSING_TEXTS}):
        return None, []
    values = set(numbers.values())
    samples = sum(labels.values())
    if task is None and all(map(float.is_integer, values)) and _number_classes(values, labels):
        note = (
            f"Column {column!r} has {len(values):,} different whole numbers, which the file takes as names of classes: "
            "use --task regression to estimate the number."
        )
        return None, [note]
    if len(values) < 2:
        raise NoPipelineFits(
            f"Column {column!r} has {len(values)} different numbers, and a regression learns from two or more "
            f"({next(iter(labels), '')!r} is the first label): name the column of the number with --label."
        )
    found = NumberLabels(column, samples, len(values), min(values), max(values))
    notes = [found.note]
    if others:
        rows = amount(sum(labels[text] for text in others), "row has", "rows have")
        notes.append(
            f"{rows} no number as label ({others[0]!r} for instance), and the training refuses them: "
            "leave the cell empty, or remove the rows."
        )
    return found, notes


def _number_classes(values: Collection[float], labels: Mapping[str, int]) -> bool:
    """Whether whole numbers are names of classes: each has many rows, or they count from 0 or 1 without a gap."""
    if sum(labels.values()) >= ROWS_OF_A_NUMBERED_CLASS * len(values):
        return True
    lowest, highest = min(values), max(values)
    is_whole_range = lowest in (0, 1) and highest - lowest + 1 == len(values)
    return is_whole_range and min(labels.values()) >= FEWEST_ROWS_OF_A_NUMBERED_CLASS


def names_in_lists(labels: Mapping[str, int]) -> Counter[str] | None:
    """How many rows have each name, where every label is a JSON list of names; None elsewhere."""
    names: Counter[str] = Counter()
    for text, rows in labels.items():
        listed = json_or_none(text) if text.startswith("[") else None
        if not isinstance(listed, list):
            return None
        try:
            named = {field_text(item) for item in listed}
        except NoSingleText:
            return None
        names.update({name: rows for name in named if name is not None})
    return names if len(names) > 1 else None


def _numbers(column: str, texts: Collection[str]) -> dict[str, float]:
    """What a training would read, without the texts that it would refuse."""
    target = Regression((column,))
    return {text: read[0] for text in texts if not isinstance(read := target.read(text), Refusal)}
