"""The 1,309 passengers of the Titanic that scikit-learn ships (F. Harrell and T. Cason, OpenML 40945)."""

import csv
import gzip
import re
from pathlib import Path
from typing import ClassVar, Literal

from include.row_json import row_json
from include.sources._packaged import PackagedSource
from include.sources.base import SourceSample
from include.strict_json import Number

ATTRIBUTE = re.compile(r"@attribute '([^']+)'")
DATA = "@data"
MISSING = "?"
NUMBERS = ("pclass", "age", "sibsp", "parch", "fare")
CATEGORIES = ("sex", "embarked")
LABELS = {"0": "died", "1": "survived"}


class PassengersSource(PackagedSource):
    """Rows as JSON objects: class, sex, age, companions, fare and port of each passenger, as far as they are known.

    The label is `survived` or `died`. A sample's group is the ticket, so that families and friends are on one side of
    a held-out split. Columns that were written down after the rescue, such as the lifeboat, are left out.
    """

    kind: Literal["passengers"] = "passengers"

    package: ClassVar[str] = "scikit-learn"
    # A file of scikit-learn's own tests, in ARFF: a line for each column, and CSV with ? for a missing value.
    place: ClassVar[str] = "sklearn/datasets/tests/data/openml/id_40945/data-v1-dl-16826755.arff.gz"
    noun: ClassVar[str] = "passengers"

    @classmethod
    def load(cls, path: Path) -> list[SourceSample]:
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()
        start = lines.index(DATA) + 1
        columns = [found[1] for line in lines[:start] if (found := ATTRIBUTE.match(line))]
        table = csv.reader(lines[start:], escapechar="\\")
        rows = [dict(zip(columns, cells, strict=True)) for cells in table if cells]
        return [_sample(number, row) for number, row in enumerate(rows, 1)]


def _sample(number: int, row: dict[str, str]) -> SourceSample:
    known = {column: cell for column, cell in row.items() if cell != MISSING}
    cells: list[tuple[str, str]] = [(column, Number(known[column])) for column in NUMBERS if column in known]
    cells += [(column, known[column]) for column in CATEGORIES if column in known]
    return SourceSample(
        id=f"passenger-{number:04d}",
        content=row_json(cells).encode(),
        label=LABELS[row["survived"]],
        group=row["ticket"],
    )
