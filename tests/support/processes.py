"""Other processes: waiting for conditions of theirs, with a deadline, and what they show."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

from include.storage.state import PROJECT_ROOT

POLL_S = 0.02


def wait_for(condition: Callable[[], bool], what: str, *, timeout_s: float = 90.0) -> None:
    """Return as soon as the condition holds; AssertionError when it does not within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"timed out after {timeout_s:g} s waiting for: {what}"
        time.sleep(POLL_S)


def run_python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a Python of its own to its end, with the project's folders on its path as Airflow has them.

    Raises:
        AssertionError: it failed; with the end of what it wrote to stderr.
    """
    path = os.pathsep.join([str(PROJECT_ROOT), str(PROJECT_ROOT / "plugins")])
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def what_it_shows(pid: int) -> str:
    """A process's arguments, and its environment where this user may read it."""
    process = psutil.Process(pid)
    shown = process.cmdline()
    with suppress(psutil.AccessDenied):
        shown += process.environ().values()
    return "\n".join(shown)


def is_gone(pid: int) -> bool:
    """Whether there is no such process, or only a zombie of it."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
