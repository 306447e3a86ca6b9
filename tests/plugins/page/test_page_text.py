"""Ids, times and counts as the page writes them."""

from __future__ import annotations

import pytest

from millrace.page.charts import bars
from millrace.page.text import LONGEST, code, middle, moment, run_time


@pytest.mark.parametrize(
    ("run_id", "shown"),
    [
        ("manual__2026-11-30T18:02:11.123456+00:00", "2026-11-30 18:02:11 UTC"),
        ("asset_triggered__2026-11-30T18:02:11+00:00_Ab3x", "2026-11-30 18:02:11 UTC"),
        ("manual__2026-11-30T18:02:11+02:00", "manual__2026-1…8:02:11+02:00"),
        ("a run of somebody", "a run of somebody"),
    ],
)
def test_a_run_is_named_by_its_time(run_id: str, shown: str) -> None:
    assert run_time(run_id) == shown


@pytest.mark.parametrize("length", [0, 1, LONGEST, LONGEST + 1, 500])
def test_a_long_id_keeps_its_beginning_and_its_end(length: int) -> None:
    text = "".join(str(place % 10) for place in range(length))

    cut = middle(text)

    assert len(cut) == min(length, LONGEST)
    assert (cut[:5], cut[-5:]) == (text[:5], text[-5:])


def test_what_is_in_backticks_is_code_and_all_else_is_text() -> None:
    assert code("`[format]` of `a<b` & `") == "<code>[format]</code> of <code>a&lt;b</code> &amp; `"


def test_a_time_stays_in_one_line_and_one_beyond_the_calendar_does_not() -> None:
    assert moment(1_796_061_731_123) == '<span class="moment">2026-11-30 18:02:11 UTC</span>'
    assert moment(2**63) == f"{2**63} ms since 1970, beyond the calendar"


def test_a_chart_counts_one_thing_as_one() -> None:
    one, more = (bars("Dead", [count, 0], ["8", "9"], "dead letter", end="10", rough=True) for count in (1, 1200))

    assert (one.summary, one.bars[0].text) == ("Dead: ≈ 1 dead letter in all, ≈ 1 at most", "≈ 1 dead letter, 8")
    assert more.bars[0].text == "≈ 1,200 dead letters, 8"
    assert more.names == ("From", "Dead letters")
    assert more.rows == (("8", "≈ 1,200"), ("9", "0"))
