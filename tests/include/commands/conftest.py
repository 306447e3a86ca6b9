"""A folder for a test's own pipelines, and torch's global settings put back after a training in the test's process."""

import pytest

from tests.include.training.conftest import torch_settings

__all__ = ["torch_settings"]


@pytest.fixture
def pipelines(tmp_path, monkeypatch):
    folder = tmp_path / "pipelines"
    folder.mkdir()
    monkeypatch.setenv("MILLRACE_PIPELINES", str(folder))
    return folder
