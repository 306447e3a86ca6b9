"""docs/speed.md shows the figures of docs/benchmarks.json, and so does its plot."""

from __future__ import annotations

import json

from benchmarks.figures import BEGIN, END, table, verdict
from include.storage.state import PROJECT_ROOT

DOCS = PROJECT_ROOT / "docs"
FIGURES = json.loads((DOCS / "benchmarks.json").read_bytes())["figures"]


def test_the_page_has_the_table_of_the_figures() -> None:
    page = (DOCS / "speed.md").read_text(encoding="utf-8")

    shown = page.partition(BEGIN)[2].partition(END)[0]

    assert shown == table(FIGURES)


def test_the_plot_has_each_figure() -> None:
    plot = (DOCS / "benchmarks.svg").read_text(encoding="utf-8")

    assert [figure["name"] for figure in FIGURES if figure["name"] not in plot.replace("&apos;", "'")] == []
    assert [figure["name"] for figure in FIGURES if verdict(figure) not in plot] == []
