"""The state folder, with the records of all topics and the models, is its user's only, whoever writes to it first."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from include.feed.cache import BlockCache
from include.local.broker import BrokerError, running_cluster
from include.storage.atomic import whole_directory, whole_file
from include.storage.locks import locked
from include.storage.state import is_open_to_others, make_folder, state_dir


def mode(folder: Path) -> int:
    return stat.S_IMODE(folder.stat().st_mode)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "checkout" / ".millrace"
    monkeypatch.setenv("MILLRACE_STATE", str(folder))
    return folder


def write_file(folder: Path) -> None:
    with whole_file(folder / "file") as aside:
        aside.touch()


def write_directory(folder: Path) -> None:
    with whole_directory(folder / "directory"):
        pass


def lock(folder: Path) -> None:
    with locked(folder / "lease", timeout_s=1):
        pass


@pytest.mark.parametrize(
    "begin",
    [write_file, write_directory, lock, make_folder, lambda folder: BlockCache(folder, 0, None, None)],
    ids=["a file", "a directory", "a lock", "a folder", "a cache of the feed"],
)
def test_whatever_comes_first_makes_the_state_for_this_user_only(state: Path, begin: Callable[[Path], None]) -> None:
    begin(state_dir() / "runs" / "digits")

    assert mode(state) == 0o700
    assert mode(state.parent) != 0o700


def test_a_broker_s_data_are_for_this_user_only(state: Path, tmp_path: Path) -> None:
    with pytest.raises(BrokerError), running_cluster(tmp_path / "elsewhere", nodes=2):
        pass

    assert mode(tmp_path / "elsewhere") == 0o700
    assert not state.exists()


def test_a_state_that_somebody_shares_keeps_its_mode(state: Path) -> None:
    state.mkdir(parents=True)
    state.chmod(0o2770)
    write_file(state / "runs")
    assert mode(state) == 0o2770
    assert not is_open_to_others(state)
    state.chmod(0o755)
    assert is_open_to_others(state)
