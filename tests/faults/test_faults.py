"""The short version of the fault suite; `make faults` runs the long one, with three seeds and three brokers."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.faults.rows import Setting
from tests.faults.scenarios import run_scenario


@pytest.mark.timeout(150)
@pytest.mark.parametrize("name", ["kills", "control", "brokers", "stuck", "disk", "week"])
def test_nothing_is_lost_and_nothing_duplicated(name: str, tmp_path: Path) -> None:
    """The negative control passes when it duplicates."""
    seed = secrets.randbelow(2**31)
    print(f"python -m tests.faults --short --only {name} --seed {seed}")  # noqa: T201 - pytest shows it where it fails
    rows = run_scenario(name, Setting(tmp_path, seed, True, print))
    assert [row for row in rows if not row.passed] == []
