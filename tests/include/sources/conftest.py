"""Each test of a source over files runs on every filesystem."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.folders import LocalPlace, MemoryPlace, Place


@pytest.fixture(params=["local", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty folder."""
    return LocalPlace(tmp_path) if request.param == "local" else MemoryPlace()
