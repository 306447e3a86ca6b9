"""Processes that rename themselves, leave their group and lose their parents are found and ended, strangers are not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from include.local.errors import StackError
from include.local.processes import end_all, find, has_ended, mark, survivors
from include.local.stack_file import ProcessMark
from include.storage.state import PROJECT_ROOT
from tests.support.processes import is_gone, wait_for

# A parent whose child renames itself and leaves the process group, as Airflow's tasks do, and then says its pid.
FAMILY = """
import os, time
from setproctitle import setproctitle
child = os.fork()
if not child:
    os.setpgid(0, 0)
    setproctitle("renamed")
    print(os.getpid(), flush=True)
time.sleep(600)
"""

# As the supervisor does it: a grandchild whose parent ends, and which left the session, is still among the descendants.
ORPHAN = """
import os, time, psutil
from include.local.processes import adopt_orphans, clear_orphans, descendants, end_all
adopt_orphans()
parent = os.fork()
if not parent:
    if not os.fork():
        os.setsid()
        time.sleep(600)
    os._exit(0)
os.waitpid(parent, 0)
orphans = descendants()
print(len(orphans), orphans[0].ppid() == os.getpid(), flush=True)
end_all(descendants)
clear_orphans(set(), set())
print(len(psutil.Process().children()), flush=True)
"""

# Two workers and a log server, whose parent, a part of Airflow with a session of its own, has ended.
ORPHANED_WORKERS = """
import os, time
from setproctitle import setproctitle
from include.local.processes import adopt_orphans, clear_orphans, descendants, end_all
adopt_orphans()
reading, writing = os.pipe()
titles = "airflow worker -- LocalExecutor: <idle>", "airflow worker -- LocalExecutor: dag.task", "log server"
part = os.fork()
if not part:
    os.setsid()
    for title in titles:
        if not os.fork():
            setproctitle(title)
            os.write(writing, b".")
            time.sleep(600)
    os._exit(0)
os.waitpid(part, 0)
for _ in titles:
    os.read(reading, 1)
clear_orphans(set(), set())
print(len(descendants()), flush=True)
while len(descendants()) > 1:
    clear_orphans(set(), {part})
print(" ".join(descendants()[0].cmdline()).strip(), flush=True)
end_all(descendants)
"""


@contextmanager
def running_family() -> Iterator[tuple[psutil.Process, psutil.Process]]:
    """A parent in a session of its own, and its child."""
    parent = subprocess.Popen([sys.executable, "-c", FAMILY], stdout=subprocess.PIPE, text=True, start_new_session=True)
    child: psutil.Process | None = None
    try:
        assert parent.stdout is not None
        with parent.stdout as output:
            child = psutil.Process(int(output.readline()))
        yield psutil.Process(parent.pid), child
    finally:
        parent.kill()
        parent.wait(10)
        if child is not None and not has_ended(child):
            child.kill()


def marked(process: psutil.Process) -> ProcessMark:
    made = mark(process)
    assert made is not None
    return made


def pids(processes: list[psutil.Process]) -> set[int]:
    return {process.pid for process in processes}


def test_a_child_that_was_never_written_down_is_found_by_its_parent():
    with running_family() as (parent, child):
        assert pids(survivors([marked(parent)])) == {parent.pid, child.pid}


def test_a_process_of_the_session_is_found_when_its_parent_is_gone():
    with running_family() as (parent, child):
        marks = [marked(parent), marked(child)]
        parent.kill()
        wait_for(lambda: is_gone(parent.pid), "the parent's end")
        assert pids(survivors(marks)) == {child.pid}


def test_everything_found_is_ended():
    with running_family() as (parent, child):
        marks = [marked(parent)]
        assert end_all(lambda: survivors(marks)) == 2
        assert is_gone(parent.pid)
        assert is_gone(child.pid)


def test_a_later_process_with_the_same_pid_is_a_stranger():
    with running_family() as (parent, _):
        earlier = marked(parent).model_copy(update={"created": parent.create_time() - 3600})
        assert find(earlier) is None
        assert survivors([earlier]) == []


def test_this_process_is_never_among_the_survivors():
    assert os.getpid() not in pids(survivors([marked(psutil.Process())]))


def test_what_cannot_be_ended_is_named():
    with running_family() as (parent, _), pytest.raises(StackError, match=str(parent.pid)):
        # Ended and yet there: as a process in an uninterruptible wait is.
        end_all(lambda: [parent], timeout_s=0.2)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives orphans to a parent of choice")
def test_an_orphan_of_another_session_stays_in_sight():
    ran = subprocess.run(
        [sys.executable, "-c", ORPHAN], cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    assert ran.stdout.splitlines() == ["1 True", "0"], ran.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives orphans to a parent of choice")
def test_only_a_worker_with_a_task_outlives_its_part():
    ran = subprocess.run(
        [sys.executable, "-c", ORPHANED_WORKERS],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert ran.stdout.splitlines() == ["3", "airflow worker -- LocalExecutor: dag.task"], ran.stderr
