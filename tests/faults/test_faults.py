"""The short version of the fault suite; `make faults` runs the whole suite."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.faults.rows import Setting
from tests.faults.scenarios import SHORT, run_scenario


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", SHORT)
def test_nothing_is_lost_and_nothing_is_twice(name: str, tmp_path: Path) -> None:
    seed = secrets.randbelow(2**31)
    print(f"python -m tests.faults --short --only {name} --seed {seed}")  # noqa: T201 - replays a failure

    rows = run_scenario(name, Setting(tmp_path, seed, short=True, say=print))

    assert [row for row in rows if not row.passed] == []
