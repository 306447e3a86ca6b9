"""Numbers and times as the page writes them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from markupsafe import Markup, escape

# An id of Airflow's own with its time in UTC: `manual__2026-11-30T18:02:11.123456+00:00_x`.
RUN_ID = re.compile(r"[a-z_]+?__(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)[.\d]*\+00:00.*", re.ASCII)
# Longer ids are cut.
LONGEST = 28

UNITS = (("d", 86_400), ("h", 3600), ("min", 60))


def number(value: float) -> str:
    """1234567 as `1,234,567`."""
    return f"{value:,}"


def duration(seconds: float) -> str:
    """A length of time in its largest whole unit: `3 min`."""
    for unit, size in UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def span(seconds: float) -> str:
    """The same with two digits where it has one: `1.4 h`."""
    unit, size = next((pair for pair in UNITS if seconds >= pair[1]), ("s", 1))
    value = seconds / size
    return f"{f'{value:.1f}'.removesuffix('.0') if value < 9.95 else f'{value:.0f}'} {unit}"


def moment(milliseconds: float) -> str:
    """A time in UTC to the second, as markup that keeps it in one line; what is beyond the calendar as its number."""
    try:
        return Markup(f'<span class="moment">{datetime.fromtimestamp(milliseconds / 1000, UTC):%F %T} UTC</span>')  # noqa: S704
    except (ValueError, OverflowError, OSError):
        return f"{milliseconds} ms since 1970, beyond the calendar"


def figure(value: float) -> str:
    """A score with four digits: `0.9780`."""
    return f"{value:.4f}"


def code(text: str) -> Markup:
    """A sentence as markup: what is in backticks as code, all else as text."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704


def middle(text: str) -> str:
    """A long id with its beginning and its end; the whole belongs beside it as a title."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]}…{text[-(LONGEST // 2 - 1) :]}"


def run_time(run_id: str) -> str:
    """The time in the id of a run; where it has none, the id, cut."""
    found = RUN_ID.fullmatch(run_id)
    return " ".join((*found.groups(), "UTC")) if found else middle(run_id)
