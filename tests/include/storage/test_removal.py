"""Folders are removed below a root only, whatever a path is made from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from include.errors import PermanentError
from include.storage.removal import OutsideRoot, below, remove_folder
from tests.support.assertions import assert_readable


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a folder in it, beside a file of somebody else's."""
    (tmp_path / "root" / "inner").mkdir(parents=True)
    (tmp_path / "root" / "inner" / "file").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    return tmp_path / "root"


def test_a_folder_below_the_root_is_removed_with_all_that_is_in_it(root: Path) -> None:
    remove_folder(root, root / "inner")
    assert list(root.iterdir()) == []


@pytest.mark.parametrize(
    "path", ["", ".", "..", "inner/..", "inner/../..", "inner/../../other", "1-/../../../..", "/", "/home", "a\0b"]
)
def test_nothing_else_is_removed(root: Path, path: str) -> None:
    for missing_ok in (False, True):
        with pytest.raises(OutsideRoot) as refused:
            remove_folder(root, root / path, missing_ok=missing_ok)
        assert_readable(refused.value, root)
        assert isinstance(refused.value, PermanentError)
    assert (root / "inner" / "file").is_file()
    assert (root.parent / "other" / "file").is_file()


def test_a_link_leads_nowhere_else(root: Path) -> None:
    (root / "link").symlink_to(root.parent / "other")
    with pytest.raises(OutsideRoot):
        remove_folder(root, root / "link" / "folder")
    with pytest.raises(OSError, match="link"):
        remove_folder(root, root / "link")
    assert (root.parent / "other" / "file").is_file()


def test_the_root_itself_may_be_a_link(root: Path) -> None:
    (root.parent / "link").symlink_to(root)
    remove_folder(root.parent / "link", root.parent / "link" / "inner")
    assert list(root.iterdir()) == []


def test_a_path_that_does_not_exist_yet_is_checked_too(root: Path) -> None:
    assert below(root, root / "new" / "1-abc") == root / "new" / "1-abc"
    with pytest.raises(OutsideRoot):
        below(root, root / "new" / ".." / ".." / "abc")


def test_relative_paths_are_those_of_the_working_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    assert below(Path(), Path("inner")) == Path("inner")
    with pytest.raises(OutsideRoot):
        below(Path(), Path(os.pardir, "other"))
