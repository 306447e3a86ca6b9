"""A selection has reasons, times and a number; an invalid one is refused in a readable sentence."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from include.replay.selection import MAX_NUMBER, Selection

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
NOON_MS = int(NOON.timestamp() * 1000)


@pytest.mark.parametrize(
    ("asked", "reason", "died_ms", "taken"),
    [
        ({}, "empty", 0, True),
        ({"reasons": ["empty", "oversize"]}, "oversize", 0, True),
        ({"reasons": ["empty", "oversize"]}, "wrong-size", 0, False),
        ({"reasons": ["empty"]}, "", 0, False),
        ({"since": NOON}, "empty", NOON_MS, True),
        ({"since": NOON}, "empty", NOON_MS - 1, False),
        ({"until": NOON}, "empty", NOON_MS - 1, True),
        ({"until": NOON}, "empty", NOON_MS, False),
        ({"reasons": ["empty"], "since": NOON}, "oversize", NOON_MS, False),
    ],
)
def test_a_dead_letter_is_selected_by_reason_and_time(asked, reason, died_ms, taken):
    assert Selection(**asked).includes(reason, died_ms) is taken


@pytest.mark.parametrize(
    "since", ["2026-01-31T12:00:00Z", "2026-01-31T13:00:00+01:00", "2026-01-31T12:00:00.000+00:00"]
)
def test_times_are_read_as_a_form_writes_them(since):
    assert Selection.model_validate({"since": since}).since == NOON


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"number": 0}, "greater than or equal to 1"),
        ({"number": MAX_NUMBER + 1}, f"less than or equal to {MAX_NUMBER}"),
        ({"since": "2026-01-31T12:00:00"}, "timezone"),
        ({"since": "yesterday"}, "valid datetime"),
        ({"since": NOON, "until": NOON}, "must be after since, 2026-01-31T12:00:00"),
        ({"reasons": "empty"}, "valid tuple"),
        ({"reason": ["empty"]}, "Extra inputs"),
    ],
)
def test_an_invalid_selection_is_refused(asked, text):
    with pytest.raises(ValidationError, match=text):
        Selection.model_validate(asked)
