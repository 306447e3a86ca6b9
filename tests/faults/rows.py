"""What the suite prints and writes: a row for each fault, and the setting that a scenario runs in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from rich.table import Table

# Where a page shows the table.
BEGIN = "<!-- faults: written by `make faults` from docs/faults.json -->"
END = "<!-- end of faults -->"


@dataclass(frozen=True)
class Row:
    """One kind of fault, however often it was inflicted.

    Attributes:
        fault: what was done to what, in words: "prediction: SIGKILL before the commit".
        times: how often.
        lost: records that should be there for a read_committed reader and are not; weights that differ count as one.
        duplicated: records that any reader has seen more than once.
        recovered_s: median seconds from the fault to the end of the step that it hit; None where nothing has to recover
            (a refusal is what is asked for).
        control: a worker built wrongly on purpose, which has to duplicate, or the suite could not see it.
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
    """What a scenario gets: where to work, what to draw from, how long it may be.

    Attributes:
        folder: empty, of this scenario alone; removed afterwards.
        seed: printed by the suite; everything random is drawn from `random()`, so that a seed replays its faults.
        short: the version that `make test` runs.
        say: tells a person how far it is.
    """

    folder: Path
    seed: int
    short: bool
    say: Callable[[str], None]

    def random(self, name: str) -> Random:
        """A generator of its own for each named part, so that one part's draws do not move another's."""
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
    """The rows as a JSON list of objects with the five columns of the table; a control says so in its `fault`."""
    columns = ("fault", "times", "lost", "duplicated", "recovered_s")
    shown = [{name: getattr(row, name) for name in columns} for row in rows]
    path.write_text(json.dumps(shown, indent=2) + "\n", encoding="utf-8")


def markdown(figures: Iterable[dict[str, Any]]) -> str:
    """What `write` has written, as a table for the docs."""
    lines = ["| fault | times | lost | duplicated | seconds to recover |", "|---|--:|--:|--:|--:|"]
    for row in figures:
        recovered = "-" if row["recovered_s"] is None else f"{row['recovered_s']:.1f}"
        lines.append(f"| {row['fault']} | {row['times']} | {row['lost']} | {row['duplicated']} | {recovered} |")
    return "\n".join(lines)


def show(page: Path, figures: Iterable[dict[str, Any]]) -> None:
    """Put the table between the page's two marks."""
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    page.write_text(f"{before}{BEGIN}\n\n{markdown(figures)}\n\n{END}{after}", encoding="utf-8")
