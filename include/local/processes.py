"""Finds and ends all processes of a stack, although they rename themselves and outlive their parents."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

from include.local.errors import StackError
from include.local.stack_file import ProcessMark

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

_PR_SET_CHILD_SUBREAPER = 36
_POLL_S = 0.05

# A process's creation time is stored relative to the boot, so setting the clock shifts it a little.
_CREATED_TOLERANCE_S = 5.0


def adopt_orphans() -> None:
    """Adopt every descendant whose own parent dies, so that all stay findable (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def clear_orphans(own: Collection[int], ended_sessions: Collection[int]) -> None:
    """Reap adopted children that have ended, and end those that a part of Airflow left behind.

    A worker that has a task goes on: it reports to the API server by itself, and is ended when it is idle.

    Args:
        own: pids of children that are not adopted, which other code waits for.
        ended_sessions: of the parts that have ended.
    """
    for child in psutil.Process().children():
        if child.pid in own:
            continue
        if has_ended(child):
            with suppress(ChildProcessError):
                os.waitpid(child.pid, os.WNOHANG)
            continue
        with suppress(psutil.Error, OSError):
            if os.getsid(child.pid) in ended_sessions and not _has_task(child):
                child.kill()


def _has_task(process: psutil.Process) -> bool:
    # Airflow's LocalExecutor gives its workers these titles.
    title = " ".join(process.cmdline()).strip()
    return title.startswith("airflow worker") and not title.endswith("<idle>")


def has_ended(process: psutil.Process) -> bool:
    """Whether a process is gone, or a zombie that nobody has reaped.

    A process whose first thread alone has ended also counts as a zombie in psutil, but still holds its ports.
    """
    try:
        return not process.is_running() or (process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1)
    except psutil.NoSuchProcess:  # psutil's ZombieProcess is one, where a zombie's threads cannot be counted
        return True


def mark(process: psutil.Process) -> ProcessMark | None:
    """The identity of a process, None if it has ended."""
    try:
        return ProcessMark(pid=process.pid, created=process.create_time(), session=os.getsid(process.pid))
    except (psutil.Error, OSError):
        return None


def find(marked: ProcessMark) -> psutil.Process | None:
    """The process with this identity if it still runs."""
    try:
        process = psutil.Process(marked.pid)
        same = abs(process.create_time() - marked.created) < _CREATED_TOLERANCE_S
    except psutil.Error:
        return None
    return process if same and not has_ended(process) else None


def descendants() -> list[psutil.Process]:
    """Return all living descendants of this process."""
    return [process for process in psutil.Process().children(recursive=True) if not has_ended(process)]


def survivors(marks: Iterable[ProcessMark]) -> list[psutil.Process]:
    """The running processes of a stack: the marked ones, their descendants, and the others of their sessions.

    A session counts only while a marked member lives: later its id may be reused.
    """
    found: dict[int, psutil.Process] = {}
    sessions: set[int] = set()
    for marked in marks:
        process = find(marked)
        if process is None:
            continue
        sessions.add(marked.session)
        found[process.pid] = process
        with suppress(psutil.Error):
            found |= {child.pid: child for child in process.children(recursive=True)}
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if os.getsid(process.pid) in sessions:
                found[process.pid] = process
    found.pop(os.getpid(), None)
    return [process for process in found.values() if not has_ended(process)]


def end_all(living: Callable[[], list[psutil.Process]], *, timeout_s: float = 10.0) -> int:
    """SIGKILL everything that `living` returns until it returns nothing; return the number of processes.

    Raises:
        StackError: some are still there after the timeout.
    """
    deadline = time.monotonic() + timeout_s
    killed: set[int] = set()
    while left := living():
        if time.monotonic() > deadline:
            names = ", ".join(f"{process.pid}" for process in left)
            raise StackError(
                f"Processes {names} are still there {timeout_s:g} s after SIGKILL: look at what holds them (`ps -l`), "
                "then try again."
            )
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
                killed.add(process.pid)
        time.sleep(_POLL_S)
    return len(killed)
