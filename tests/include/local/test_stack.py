"""The stack as real processes: killed, found again, refused, stopped, and nothing left of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from include.local import stack as local
from include.local.audit import audit
from include.local.environment import Layout
from include.local.errors import StackError
from include.local.ports import API_PORT, is_free, random_ports
from include.local.processes import find
from include.local.record import StackRecord
from include.local.stack import running_stack
from include.pipeline import load_pipelines
from include.state import PROJECT_ROOT
from tests.include.local.test_ports import listening
from tests.processes import ended, wait_for
from tests.sentences import assert_readable

OWNER = """
import sys, threading
from pathlib import Path
from include.local.stack import running_stack
with running_stack(Path(sys.argv[1])) as stack:
    print(stack.url, flush=True)
    threading.Event().wait()
"""
START_TIMEOUT_S = 240
# Airflow's scheduler counts as alive for 30 s after its last sign, and is then looked for every 10 s.
RECOVERY_TIMEOUT_S = 150


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "state")


def record_of(layout: Layout) -> StackRecord:
    record = StackRecord.load(layout.record_file)
    assert record is not None
    return record


def ports_of(record: StackRecord) -> list[int]:
    airflow = [int(value) for name, value in record.settings.items() if name.endswith("_PORT")]
    return [*airflow, *(int(server.rpartition(":")[2]) for server in record.bootstrap_servers.split(","))]


def assert_nothing_left(record: StackRecord) -> None:
    wait_for(
        lambda: all(ended(marked.pid) for marked in (record.supervisor, *record.processes)),
        "the end of every process of the stack",
        timeout_s=60,
    )
    ports = ports_of(record)
    assert len(ports) == 4
    wait_for(lambda: all(map(is_free, ports)), f"all of the ports {ports} to be free", timeout_s=5)


@contextmanager
def owner_of(layout: Layout) -> Iterator[subprocess.Popen[str]]:
    """A process that runs a stack and does nothing else."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(layout.state)], cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        with process.stdout as output:
            assert output.readline().startswith("http://127.0.0.1:")
        yield process
    finally:
        process.kill()
        process.wait(10)
        local.stop(layout)


@pytest.mark.timeout(600)
def test_a_stack_that_is_killed_leaves_nothing_and_its_next_start_goes_on(layout):
    """One test, as a start takes a quarter of a minute: an owner that is killed, a supervisor that is killed."""
    [pipeline] = load_pipelines()[0]
    ingest = f"{pipeline.name}.ingest"

    with owner_of(layout) as owner:
        first = record_of(layout)
        with pytest.raises(StackError) as refusal:
            local.start(layout, tie=True)
        assert_readable(refusal.value, owner.pid, first.url)
        assert local.attach(layout) is None  # it belongs to its owner
        owner.kill()
        assert_nothing_left(first)
    assert record_of(layout).status == "stopped"

    with running_stack(layout.state) as stack:
        assert stack.api.get("/monitor/health")["scheduler"]["status"] == "healthy"
        stack.api.unpause(ingest)
        run_id = stack.api.trigger(ingest)
        stack.api.wait_until(
            lambda: any(
                task["state"] == "running"
                for run in stack.api.runs(ingest)
                for task in stack.api.tasks(ingest, run["dag_run_id"])
            ),
            timeout_s=60,
            what="no task of the run has begun",
        )
        second = record_of(layout)
        psutil.Process(second.supervisor.pid).kill()
        with pytest.raises(StackError, match="was killed"):
            stack.api.wait_until(lambda: False, timeout_s=10, what="the stack is still there")
        assert [marked for marked in second.processes if find(marked)], "Airflow outlives its supervisor"
        stack.stop()
        assert_nothing_left(second)

    with running_stack(layout.state) as stack:
        run = stack.api.wait_for_run(ingest, run_id, timeout_s=RECOVERY_TIMEOUT_S)
        assert run["state"] == "success"
        for run in stack.api.runs(ingest):
            stack.api.wait_for_run(ingest, run["dag_run_id"], timeout_s=RECOVERY_TIMEOUT_S)
        topics = audit(stack.bootstrap_servers, pipeline, {})
        assert topics.samples + topics.requests == pipeline.source.count()
        third = record_of(layout)
    assert_nothing_left(third)


def test_a_port_in_use_is_refused_before_anything_is_started(layout):
    wanted = random_ports()
    with (
        listening("127.0.0.1", wanted.api),
        pytest.raises(StackError) as refusal,
        running_stack(layout.state, environment=wanted.settings()),
    ):
        pass
    assert_readable(refusal.value, wanted.api, API_PORT)
    assert record_of(layout).processes == []
    assert not layout.broker_data.exists()


def test_there_is_nothing_to_stop_where_nothing_was_started(layout):
    assert local.stop(layout) is False
    assert local.attach(layout) is None


def test_a_record_that_cannot_be_read_is_named_and_not_overwritten(layout):
    layout.directory.mkdir(parents=True)
    layout.record_file.write_text("{", encoding="utf-8")
    with pytest.raises(StackError, match=str(layout.record_file)), running_stack(layout.state):
        pass
    assert layout.record_file.read_text(encoding="utf-8") == "{"


def test_the_environment_of_a_stack_that_does_not_run_has_the_ports_that_it_would_get(layout, monkeypatch):
    wanted = random_ports()
    for name, value in wanted.settings().items():
        monkeypatch.setenv(name, value)
    assert local.settings_of(layout)[API_PORT] == str(wanted.api)


def test_clean_removes_the_state_and_keeps_the_jars(layout):
    for folder in (*layout.folders, layout.state / "jars"):
        folder.mkdir(parents=True)
        (folder / "file").touch()
    assert sorted(local.remove_state(layout)) == sorted(layout.folders)
    assert [path.name for path in layout.state.iterdir()] == ["jars"]
