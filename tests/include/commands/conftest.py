"""A folder for a test's own pipelines, and torch's global settings restored after a training in the test's process."""

import pytest

from tests.support.torch_settings import restored_torch_settings


@pytest.fixture(autouse=True)
def torch_settings():
    with restored_torch_settings():
        yield


@pytest.fixture
def pipelines(tmp_path, monkeypatch):
    folder = tmp_path / "pipelines"
    folder.mkdir()
    monkeypatch.setenv("MILLRACE_PIPELINES", str(folder))
    return folder
