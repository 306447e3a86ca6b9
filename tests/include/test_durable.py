"""Directories that are there whole or not at all."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from include.durable import ASIDE, files_digest, remove_leftovers, whole_directory
from include.state import PROJECT_ROOT

KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from include.durable import whole_directory
with whole_directory(Path(sys.argv[1])) as aside:
    (aside / "file").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_it_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "made" / "target"
    with whole_directory(target) as aside:
        (aside / "inner").mkdir()
        (aside / "inner" / "file").write_text("whole")
        assert not target.exists()
    assert (target / "inner" / "file").read_text() == "whole"


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full"), whole_directory(tmp_path / "target"):
        raise OSError("disk full")
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_was_killed_leaves_only_what_can_be_told_apart(tmp_path: Path) -> None:
    target = tmp_path / "target"
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, str(target)], cwd=PROJECT_ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not target.exists()
    assert [path.name.startswith(ASIDE) for path in tmp_path.iterdir()] == [True]
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_never_replaced(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with whole_directory(target) as aside:
        (aside / "file").write_text("first")
    with pytest.raises(FileExistsError, match="exists already"), whole_directory(target) as aside:
        (aside / "file").write_text("second")
    assert (target / "file").read_text() == "first"
    assert list(tmp_path.iterdir()) == [target]


def test_the_digest_binds_names_contents_and_their_order(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("2")
    before = files_digest(tmp_path, ("a", "b"))
    assert before != files_digest(tmp_path, ("b", "a"))
    (tmp_path / "a").write_text("2")
    (tmp_path / "b").write_text("1")
    assert before != files_digest(tmp_path, ("a", "b"))


def test_a_missing_file_has_no_digest(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files_digest(tmp_path, ("a",))
