"""Columns whose values are groups of samples: a speaker, a patient, a device."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from include.sources.table import TableSource

# Words for what samples of one origin have in common, the ones that matter most for a held-out split first.
WORDS = (
    *("patient", "speaker", "subject", "person", "user", "client", "customer", "participant", "author", "writer"),
    *("singer", "actor", "voice", "student", "child", "donor", "animal", "member", "account", "family", "rider"),
    *("session", "recording", "scene", "video", "movie", "document", "conversation", "thread", "group", "case"),
    *("product", "site", "hospital", "station", "device", "camera", "sensor", "machine", "source", "src"),
)
ID_WORDS = ("id", "nr", "no", "num", "number", "name", "key", "code", "hash", "uuid", "index", "idx", "file", "title")
# Rows that are read to find the columns that may be groups, and how many columns are counted at most.
PROBED_ROWS, MAX_COLUMNS = 500, 20
FEWEST_GROUPS, ROWS_OF_A_GROUP = 10, 2
# With fewer groups a class, the held-out share may by chance have no sample of some class.
GROUPS_OF_A_CLASS = 5
MAX_SHARE = 0.2
MAX_VALUE_LENGTH = 100
# A column with more values than this is one of ids, or of texts.
MAX_VALUES = 1_000_000
FRACTION = re.compile(r"[-+]?\d*[.,]\d+(?:[eE][-+]?\d+)?")
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


@dataclass
class GroupColumn:
    """The values of a column, as rows are added.

    Attributes:
        rows_of: rows by value.
        label_of: the one label of a value's rows; empty where they have several.
    """

    name: str
    rows_of: Counter[str] = field(default_factory=Counter)
    label_of: dict[str, str] = field(default_factory=dict)

    def add(self, value: str | None, label: str | None) -> None:
        if value is None or len(self.rows_of) > MAX_VALUES:
            return
        self.rows_of[value] += 1
        if label is not None and self.label_of.setdefault(value, label) != label:
            self.label_of[value] = ""

    @property
    def rank(self) -> int:
        """The place in `WORDS` of the name's last word, but for words of an id; the number of `WORDS` if it is none."""
        parts = [part.lower() for part in WORD.findall(self.name)]
        while len(parts) > 1 and (parts[-1] in ID_WORDS or parts[-1].isdigit()):
            parts.pop()
        last = parts[-1] if parts else ""
        fits = (last.startswith(word) and last.removeprefix(word) in ("", "s", *ID_WORDS) for word in WORDS)
        return next((place for place, fit in enumerate(fits) if fit), len(WORDS))

    def looks_like_groups(self, labels: Mapping[str, int]) -> bool:
        """Many values, many rows of each, and no other name of the class."""
        values, rows = len(self.rows_of), self.rows_of.total()
        if not FEWEST_GROUPS <= values <= MAX_VALUES or rows < ROWS_OF_A_GROUP * values:
            return False
        if self.rows_of.most_common(1)[0][1] > MAX_SHARE * rows:
            return False
        return not all(self.label_of.values()) or values >= GROUPS_OF_A_CLASS * len(labels)


def likely_groups(source: TableSource, columns: Sequence[str]) -> list[str]:
    """The columns that may be groups by rows spread over the tables; those with a telling name first."""
    once = [name for name in columns if columns.count(name) == 1]
    if not once:
        return []
    rows = sum(source.size_of(file).rows for file in source.files())
    values: dict[str, list[str]] = {name: [] for name in once}
    for cells in source.texts(once, step=max(1, rows // PROBED_ROWS)):
        for name, cell in zip(once, cells, strict=True):
            if cell is not None:
                values[name].append(cell)
    possible = [
        name
        for name, found in values.items()
        if len(set(found)) > 1
        and max(map(len, found)) <= MAX_VALUE_LENGTH
        and not all(FRACTION.fullmatch(cell) for cell in found)
    ]
    return sorted(possible, key=lambda name: GroupColumn(name).rank)[:MAX_COLUMNS]


def choose_group(
    columns: Mapping[str, GroupColumn], labels: Mapping[str, int], *, chosen: bool, hint: bool
) -> tuple[GroupColumn | None, str | None, list[str]]:
    """The column of the groups, the name of one that may be, and sentences for the user.

    Args:
        columns: those that were counted, by name; the only one if a person has chosen it.
        hint: whether a column without a telling name is suggested.
    """
    if chosen:
        return next(iter(columns.values())), None, []
    likely = [column for column in columns.values() if column.looks_like_groups(labels)]
    named = sorted((column for column in likely if column.rank < len(WORDS)), key=lambda column: column.rank)
    if named:
        group = named[0]
        others = "".join(f"; {column.name!r} looks like one too" for column in named[1:3])
        note = (
            f"Column {group.name!r} looks like a group, with {len(group.rows_of):,} values in "
            f"{group.rows_of.total():,} rows{others}: the file says to keep the rows of each value together, in the "
            "held-out split and among the requests. Name another with --group, or none with --group ''."
        )
        return group, None, [note]
    if likely and hint:
        first = likely[0]
        note = (
            f"Column {first.name!r} has {len(first.rows_of):,} values in {first.rows_of.total():,} rows: if rows of "
            "one value belong together, of a person or a device for example, name it with --group."
        )
        return None, first.name, [note]
    return None, None, []
