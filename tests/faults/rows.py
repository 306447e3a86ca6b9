"""The results of the suite, a row for each kind of fault, and the setting that a scenario runs in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from rich.table import Table

# The lines around the table on its page.
BEGIN = "<!-- faults: written by `make faults` from docs/faults.json -->"
END = "<!-- end of faults -->"


@dataclass(frozen=True)
class Row:
    """One kind of fault, inflicted once or several times.

    Attributes:
        fault: the step and the fault: "prediction: SIGKILL before the commit".
        times: how often it was inflicted.
        lost: expected records that a read_committed consumer did not get; weights that differ count as one.
        duplicated: records that a consumer got more than once.
        recovered_s: median seconds from the fault to the end of the step; None where an error is the expected result.
        control: the worker is wrong on purpose and has to duplicate records, which shows that the suite finds them.
    """

    fault: str
    times: int
    lost: int
    duplicated: int
    recovered_s: float | None
    control: bool = False

    @property
    def passed(self) -> bool:
        return self.times > 0 and not self.lost and bool(self.duplicated) == self.control


@dataclass(frozen=True)
class Setting:
    """The folder, the seed and the length of a scenario.

    Attributes:
        folder: empty, used by this scenario only; removed afterwards.
        seed: everything random is drawn from `random()`, so the printed seed replays the faults.
        short: the version that `make test-long` runs.
        say: reports progress.
    """

    folder: Path
    seed: int
    short: bool
    say: Callable[[str], None]

    def random(self, name: str) -> Random:
        """A generator for each named part, so that the draws of one part do not change those of another."""
        return Random(f"{self.seed}/{name}")  # noqa: S311 - repeatable on purpose


def middle(seconds: Iterable[float]) -> float | None:
    """The median, rounded for a table; None of none."""
    found = list(seconds)
    return round(median(found), 1) if found else None


def table(rows: Iterable[Row]) -> Table:
    """The rows for a terminal."""
    shown = Table(title="Faults", show_lines=False)
    for heading in ("fault", "times", "lost", "duplicated", "seconds to recover"):
        shown.add_column(heading, justify="left" if heading == "fault" else "right")
    for row in rows:
        recovered = "-" if row.recovered_s is None else f"{row.recovered_s:.1f}"
        style = "" if row.passed else "red"
        shown.add_row(row.fault, str(row.times), str(row.lost), str(row.duplicated), recovered, style=style)
    return shown


def write(path: Path, rows: Iterable[Row]) -> None:
    """Write the rows as a JSON list of objects with the five columns of the table."""
    columns = ("fault", "times", "lost", "duplicated", "recovered_s")
    shown = [{name: getattr(row, name) for name in columns} for row in rows]
    path.write_text(json.dumps(shown, indent=2) + "\n", encoding="utf-8")


def markdown(figures: Iterable[dict[str, Any]]) -> str:
    """The rows in the JSON of `write`, as a Markdown table."""
    lines = ["| fault | times | lost | duplicated | seconds to recover |", "|---|--:|--:|--:|--:|"]
    for row in figures:
        recovered = "-" if row["recovered_s"] is None else f"{row['recovered_s']:.1f}"
        lines.append(f"| {row['fault']} | {row['times']} | {row['lost']} | {row['duplicated']} | {recovered} |")
    return "\n".join(lines)


def show(page: Path, figures: Iterable[dict[str, Any]]) -> None:
    """Replace the table on a page, between `BEGIN` and `END`."""
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    page.write_text(f"{before}{BEGIN}\n\n{markdown(figures)}\n\n{END}{after}", encoding="utf-8")
