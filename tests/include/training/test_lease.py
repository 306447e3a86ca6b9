"""The lease on a run's directory."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from include.errors import Stopped
from include.storage.state import PROJECT_ROOT
from include.training.lease import LeaseTaken, lease
from tests.support.assertions import assert_readable

HOLDER = """
import sys
from pathlib import Path
from include.training.lease import lease
with lease(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path):
    """Another process that holds the lease on `tmp_path`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
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


def test_a_lease_that_stays_taken_is_refused_with_its_holder(holder, tmp_path: Path) -> None:
    with pytest.raises(LeaseTaken) as refused, lease(tmp_path, timeout_s=0.2):
        pass
    assert_readable(refused.value, holder.pid, tmp_path, "0.2")


def test_it_is_free_as_soon_as_its_holder_was_killed(holder, tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.INFO)
    waiting = threading.Event()

    def take() -> None:
        with lease(tmp_path, timeout_s=30, stopped=lambda: waiting.set() or False):
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


def test_a_stop_ends_the_waiting(holder, tmp_path: Path) -> None:
    with pytest.raises(Stopped), lease(tmp_path, timeout_s=30, stopped=lambda: True):
        pass


def test_its_file_names_the_holder(tmp_path: Path) -> None:
    with lease(tmp_path):
        assert (tmp_path / "lease").read_text() == str(os.getpid())


def test_it_can_be_taken_again_after_it_was_given_back(tmp_path: Path) -> None:
    for _ in range(2):
        with lease(tmp_path, timeout_s=0.2):
            pass
