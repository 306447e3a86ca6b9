"""Locks on files: waited for, refused, and free again when their holder has died."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.errors import Stopped
from include.storage.locks import LockTaken, is_locked, locked
from include.storage.state import PROJECT_ROOT
from tests.support.assertions import assert_readable

HOLDER = """
import sys
from pathlib import Path
from include.storage.locks import locked
with locked(Path(sys.argv[1]), timeout_s=0):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "lock"


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        cwd=PROJECT_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_a_lock_that_stays_taken_is_refused_with_its_holder(holder, path: Path) -> None:
    with pytest.raises(LockTaken) as refused, locked(path, timeout_s=0.2):
        pass
    assert_readable(refused.value, holder.pid, path, "0.2")


def test_it_is_free_as_soon_as_its_holder_is_killed(holder, path: Path, caplog) -> None:
    caplog.set_level(logging.INFO)
    waiting = threading.Event()

    def take() -> None:
        with locked(path, timeout_s=30, stopped=lambda: waiting.set() or False):
            taken.set()

    taken = threading.Event()
    thread = threading.Thread(target=take)
    thread.start()
    assert waiting.wait(30)
    assert not taken.is_set()
    holder.kill()
    thread.join(30)
    assert taken.is_set()
    assert f"process {holder.pid} holds" in caplog.text


def test_a_stop_ends_the_waiting(holder, path: Path) -> None:
    with pytest.raises(Stopped), locked(path, timeout_s=30, stopped=lambda: True):
        pass


def test_its_file_names_the_holder(path: Path) -> None:
    with locked(path, timeout_s=0):
        assert path.read_text() == str(os.getpid())


def test_it_can_be_taken_again_after_it_was_released(path: Path) -> None:
    for _ in range(2):
        with locked(path, timeout_s=0):
            pass


def test_a_check_sees_a_holder_and_takes_nothing(holder, path: Path) -> None:
    assert is_locked(path)
    holder.kill()
    holder.wait()
    assert not is_locked(path)
    with locked(path, timeout_s=0):
        pass


def test_a_lock_without_a_file_is_free_and_the_check_makes_none(path: Path) -> None:
    assert not is_locked(path)
    assert not path.exists()
