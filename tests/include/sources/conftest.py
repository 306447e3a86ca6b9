"""Each test of a source over files runs on every filesystem."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.folders import Folder, LocalFolder, MemoryFolder


@pytest.fixture(params=["local", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """An empty folder."""
    return LocalFolder(tmp_path) if request.param == "local" else MemoryFolder()
