"""The list of metrics in docs/metrics.md; `python -m tests.support.metrics_page` writes it anew from the code."""

from __future__ import annotations

from include.metrics import Counters, Gauges
from include.storage.state import PROJECT_ROOT

PAGE = PROJECT_ROOT / "docs" / "metrics.md"
BEGIN, END = "<!-- metrics: begin -->", "<!-- metrics: end -->"


def markdown() -> str:
    """A table of all metrics, counters first."""
    rows = ["| metric | type | unit | meaning | what to do |", "|---|---|---|---|---|"]
    for metric in (*Counters, *Gauges):
        defined, kind = metric.value, type(metric).__name__.lower().removesuffix("s")
        rows.append(f"| `{defined.name}` | {kind} | {defined.unit} | {defined.meaning} | {defined.action} |")
    return "\n".join(rows)


def shown() -> str:
    """The table that the page has now."""
    return PAGE.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0].strip()


if __name__ == "__main__":
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{markdown()}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")
