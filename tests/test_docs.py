"""What the docs say of figures and reason codes is what the suite has measured and the code has."""

from __future__ import annotations

import json

from include.codecs.base import REASONS
from include.envelopes.base import REASONS as ENVELOPE_REASONS
from include.state import PROJECT_ROOT
from tests.faults.rows import BEGIN, END, markdown

PAGE = (PROJECT_ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")


def test_the_page_shows_the_figures_of_the_last_whole_run() -> None:
    figures = json.loads((PROJECT_ROOT / "docs" / "faults.json").read_text(encoding="utf-8"))

    shown = PAGE.split(BEGIN)[1].split(END)[0].strip()
    assert shown == markdown(figures)
    assert len(figures) > 20
    assert all(row["times"] > 0 and row["lost"] == 0 for row in figures)
    assert [row["fault"] for row in figures if row["duplicated"] > 0] == [
        row["fault"] for row in figures if row["fault"].startswith("control")
    ]


def test_the_page_names_every_reason_of_a_format() -> None:
    assert [reason for reason in REASONS if f"`{reason}`" not in PAGE] == []


def test_the_page_names_every_reason_of_an_envelope() -> None:
    assert [reason for reason in ENVELOPE_REASONS if f"`{reason}`" not in PAGE] == []
