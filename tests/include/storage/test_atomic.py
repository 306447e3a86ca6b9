"""Files and directories that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from include.errors import PermanentError
from include.storage.atomic import (
    ABANDONED_S,
    ASIDE,
    DiskFull,
    explained_if_full,
    files_digest,
    remove_leftovers,
    require_room,
    whole_directory,
    whole_file,
)
from include.storage.state import PROJECT_ROOT
from tests.support.assertions import assert_readable

KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from include.storage.atomic import whole_directory
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


@pytest.mark.skipif(sys.platform != "linux", reason="The folder of a descriptor is known on Linux only.")
@pytest.mark.parametrize("whole", [whole_file, whole_directory])
def test_new_folders_around_it_are_on_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Any) -> None:
    synced: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
    )
    with whole(tmp_path / "new" / "newer" / "target") as aside:
        (aside if whole is whole_file else aside / "file").write_text("whole")
    assert {str(tmp_path), str(tmp_path / "new"), str(tmp_path / "new" / "newer")} <= set(synced)


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full"), whole_directory(tmp_path / "target"):
        raise OSError("disk full")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        RuntimeError("I/O error: No space left on device (os error 28)"),
    ],
    ids=["disk", "quota", "library"],
)
def test_a_full_disk_is_one_sentence_with_what_is_needed_and_leaves_nothing(tmp_path: Path, error: Exception) -> None:
    def write_a_part() -> None:
        with whole_directory(tmp_path / "target", size=10**18) as aside:
            (aside / "file").write_text("a part")
            raise error

    with pytest.raises(DiskFull) as refused:
        write_a_part()
    assert not isinstance(refused.value, PermanentError)
    assert_readable(refused.value, tmp_path / "target", 10**18, "are free")
    assert list(tmp_path.iterdir()) == []


def test_what_takes_more_than_its_bytes_is_not_said_to_fit(tmp_path: Path) -> None:
    with (
        pytest.raises(DiskFull, match=r"needs more than the \d+ bytes that are free"),
        explained_if_full(tmp_path, size=1),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_another_error_passes_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), explained_if_full(tmp_path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def test_room_is_asked_for_before_anything_is_written(tmp_path: Path) -> None:
    require_room(tmp_path / "target", [1, 2, 3])
    with pytest.raises(DiskFull) as refused:
        require_room(tmp_path / "not" / "made" / "yet", [10**18, 1])
    assert_readable(refused.value, tmp_path / "not" / "made" / "yet", "are free")
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_only_what_can_be_recognised(tmp_path: Path) -> None:
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


def test_of_two_writers_with_one_process_id_the_later_one_finds_the_directory_complete(tmp_path: Path) -> None:
    """Machines that share the folder give the same ids to their processes."""
    target = tmp_path / "target"

    def write_while_another_does() -> None:
        with whole_directory(target) as late:
            (late / "first").write_text("content")
            with whole_directory(target) as early:
                (early / "file").write_text("content")
            (late / "file").write_text("content")

    with pytest.raises(FileExistsError, match="exists already"):
        write_while_another_does()
    assert [path.name for path in target.iterdir()] == ["file"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_directory_removes_what_killed_writers_left_a_day_ago_and_nothing_else(tmp_path: Path) -> None:
    suffix = uuid4().hex
    names = ("target", "another[1]", "new", "file")
    abandoned, of_another, alive, file = (tmp_path / f"{ASIDE}{name}-{suffix}" for name in names)
    unlike = tmp_path / f"{ASIDE}of-a-library"
    for folder in (abandoned, of_another, alive, unlike):
        folder.mkdir()
        (folder / "part").write_text("half")
    file.write_text("half")
    for path in (abandoned, of_another, unlike, file):
        os.utime(path, (0, path.stat().st_mtime - ABANDONED_S - 60))
    os.utime(alive, (0, alive.stat().st_mtime - ABANDONED_S + 600))
    with whole_directory(tmp_path / "target") as aside:
        (aside / "file").write_text("whole")
    assert set(tmp_path.iterdir()) == {tmp_path / "target", alive, unlike, file}
    assert (alive / "part").exists()


def test_a_file_is_replaced_only_by_a_complete_one(tmp_path: Path) -> None:
    target = tmp_path / "made" / "target"
    for content in ("first", "second"):
        before = target.read_text() if target.exists() else None
        with whole_file(target) as aside:
            aside.write_text(content)
            assert (target.read_text() if target.exists() else None) == before
        assert target.read_text() == content
    assert list(target.parent.iterdir()) == [target]


def test_a_file_that_does_not_fit_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("old")

    def write_a_part() -> None:
        with whole_file(target, size=10**18) as aside:
            aside.write_text("a part")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(DiskFull) as refused:
        write_a_part()
    assert_readable(refused.value, target, 10**18, "are free")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_block_that_writes_no_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "target"):
        pass


def test_of_two_writers_of_a_file_the_later_one_ends_without_an_error(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with whole_file(target) as late:
        late.write_text("content")
        with whole_file(target) as early:
            early.write_text("content")
        assert not late.exists()
    assert target.read_text() == "content"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_removes_what_killed_writers_left_of_it_and_nothing_else(tmp_path: Path) -> None:
    suffix = uuid4().hex
    leftover, of_another = tmp_path / f"{ASIDE}target[1]-{suffix}", tmp_path / f"{ASIDE}target1-{suffix}"
    leftover.write_text("half")
    of_another.write_text("half")
    with whole_file(tmp_path / "target[1]") as aside:
        aside.write_text("whole")
    assert not leftover.exists()
    assert of_another.exists()


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


def test_a_file_leaves_the_writer_of_a_file_whose_name_goes_on_alone(tmp_path):
    with whole_file(tmp_path / "log-2") as longer:
        longer.write_text("kept")
        with whole_file(tmp_path / "log") as shorter:
            shorter.write_text("short")

    assert (tmp_path / "log-2").read_text() == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "log-2"]
