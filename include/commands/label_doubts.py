"""Labels of a table that are written as something else than they mean: what to correct, or to look at."""

import re
from collections.abc import Collection, Mapping

from include.commands.image_format import NoPipelineFits
from include.commands.number_labels import MISSING_TEXTS
from include.errors import amount

QUOTED = r"""(?:'[^']*'|"[^"]*")"""
# Python and NumPy print a list of texts like this, and it is no JSON.
PYTHON_LIST = re.compile(rf"\[\s*{QUOTED}(?:[\s,]+{QUOTED})*\s*\]")
SEPARATORS = (",", ";", "|")
SHOWN = 10


def label_doubts(column: str, labels: Mapping[str, int]) -> list[str]:
    """Sentences for the user on labels that are taken as classes.

    Args:
        labels: rows by the text of their label.

    Raises:
        NoPipelineFits: they are lists that a training could not read.
    """
    texts = [text for text in labels if text not in MISSING_TEXTS]
    lists = [text for text in texts if PYTHON_LIST.fullmatch(text)]
    if lists and all(text == "[]" or PYTHON_LIST.fullmatch(text) for text in texts):
        raise NoPipelineFits(
            f"Column {column!r} has labels such as {lists[0]!r}, lists as Python prints them: write them as JSON, with "
            "json.dumps for instance, or as names with a comma between them."
        )
    return [*_joined(column, texts), *_stand_ins(labels)]


def _joined(column: str, labels: Collection[str]) -> list[str]:
    """A sentence where fewer names than labels, with a sign between them, make up the labels."""
    for separator in SEPARATORS:
        joined = [label for label in labels if separator in label]
        names = sorted({name.strip() for label in labels for name in label.split(separator)})
        if joined and len(names) < len(labels):
            shown = ", ".join(f'"{name}"' for name in names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
            note = (
                f"Labels of column {column!r} such as {joined[0]!r} seem to be several names: if they are, write "
                f'task = "multi-label", separator = "{separator}" and labels = [{shown}] into [training] of the file.'
            )
            return [note]
    return []


def _stand_ins(labels: Mapping[str, int]) -> list[str]:
    found = [text for text in MISSING_TEXTS if text in labels]
    if not found:
        return []
    rows = amount(sum(labels[text] for text in found), "row")
    named = " and ".join(map(repr, found))
    return [f"{named}, the label of {rows}, is taken as a class: leave the cell empty where a label is missing."]
