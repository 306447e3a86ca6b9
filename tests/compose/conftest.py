"""The tests of docker-compose.yaml, which need no container engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.local.compose import write_secrets
from tests.support.compose_file import EXAMPLE


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but .env.example, in which the command has run."""
    folder = tmp_path_factory.mktemp("project")
    (folder / ".env.example").write_text(EXAMPLE)
    write_secrets(folder)
    return folder
