"""The stack as real processes: killed, found again, refused, stopped, and nothing left of it."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from include.definition.files import load_pipeline
from include.local import stack as local
from include.local.airflow import USERNAME, read_password
from include.local.api import AirflowApi
from include.local.audit import audit
from include.local.environment import Layout
from include.local.errors import StackError
from include.local.ports import API_PORT, is_free
from include.local.processes import find
from include.local.stack_file import StackRecord
from include.storage.state import PROJECT_ROOT
from tests.support.assertions import assert_readable
from tests.support.listening import listening
from tests.support.processes import is_gone, wait_for
from tests.support.stacks import random_ports, running_stack, runs_of, wait_for_run

OWNER = """
import sys, threading
from pathlib import Path
from tests.support.stacks import running_stack
with running_stack(Path(sys.argv[1])) as stack:
    threading.Event().wait()
"""
START_TIMEOUT_S = 600
# Airflow's scheduler counts as alive for 30 s after its last sign, and is then looked for every 10 s.
RECOVERY_TIMEOUT_S = 600

pytestmark = pytest.mark.slow  # stacks of its own


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


def assert_all_ended(record: StackRecord) -> None:
    wait_for(
        lambda: all(is_gone(marked.pid) for marked in (record.supervisor, *record.processes)),
        "the end of every process of the stack",
        timeout_s=60,
    )


@contextmanager
def owner_of(layout: Layout) -> Iterator[subprocess.Popen[str]]:
    """A process that runs a stack and does nothing else; killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(layout.state)], cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        with process.stdout:
            yield process
    finally:
        process.kill()
        process.wait(10)
        local.stop(layout)


def wait_for_status(layout: Layout, **expected: str) -> StackRecord:
    def reached() -> bool:
        record = StackRecord.load(layout.record_file)
        return record is not None and expected.items() <= record.model_dump().items()

    wait_for(reached, f"{expected} in the record", timeout_s=START_TIMEOUT_S)
    return record_of(layout)


def begun(api: AirflowApi, dag_id: str) -> bool:
    runs = runs_of(api, dag_id)
    return any(task["state"] == "running" for run in runs for task in api.tasks(dag_id, run["dag_run_id"]))


def assert_no_attempt_was_lost(layout: Layout, tasks: list[dict[str, Any]]) -> None:
    """Fail if an attempt ended before it began, as it does where it cannot reach an API server that still starts.

    An attempt that begins has a log of its own. On a slow machine one may begin and fail for another reason.
    """
    for task in tasks:
        for number in range(1, task["try_number"] + 1):
            pattern = f"**/run_id={task['dag_run_id']}/task_id={task['task_id']}/**/attempt={number}.log"
            logs = layout.task_logs.glob(pattern)
            assert any(log.stat().st_size for log in logs), f"attempt {number} of {task['task_id']} has no log: {task}"


@pytest.mark.long
def test_a_stack_ends_with_its_owner_even_while_it_starts(layout):
    with owner_of(layout) as owner:
        wait_for_status(layout, step="Starting Airflow")
        wait_for(lambda: len(record_of(layout).processes) >= 2, "the broker and Airflow to be written down")
        record = record_of(layout)
        owner.kill()
        assert_all_ended(record)
    assert record_of(layout).status == "stopped"


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_stack_that_was_killed_is_cleared_away_and_its_work_goes_on(layout):
    """One test, as a start takes a quarter of a minute."""
    pipeline = load_pipeline("digits")
    ingest = f"{pipeline.name}.ingest"

    with owner_of(layout) as owner:
        killed = wait_for_status(layout, status="ready")
        with pytest.raises(StackError) as refusal:
            local.start(layout, tie=True)
        assert_readable(refusal.value, owner.pid, killed.url)
        assert local.attach(layout) is None  # it belongs to its owner
        api = AirflowApi(killed.url, USERNAME, read_password(layout.password_file))
        api.unpause(ingest)
        run_id = api.trigger(ingest)
        api.wait_until(lambda: begun(api, ingest), timeout_s=RECOVERY_TIMEOUT_S, what="no task of the run has begun")
        api.close()
        killed = record_of(layout)
        psutil.Process(killed.supervisor.pid).kill()
        owner.kill()
        # A signal is sent and not yet obeyed: until both are gone, the stack is rightly found to be in use.
        wait_for(
            lambda: not find(killed.supervisor) and owner.poll() is not None, "the killed ones to be gone", timeout_s=10
        )
        assert [marked for marked in killed.processes if find(marked)], "Airflow outlives its supervisor"

        with running_stack(layout.state) as stack:
            assert "processes that the last stack left behind" in stack.record.notes[0]
            assert_all_ended(killed)
            run = wait_for_run(stack.api, ingest, run_id, timeout_s=RECOVERY_TIMEOUT_S)
            assert run["state"] == "success"
            for run in runs_of(stack.api, ingest):
                wait_for_run(stack.api, ingest, run["dag_run_id"], timeout_s=RECOVERY_TIMEOUT_S)
                assert_no_attempt_was_lost(layout, stack.api.tasks(ingest, run["dag_run_id"]))
            topics = audit(stack.kafka_settings, pipeline, {})
            assert topics.samples + topics.requests == pipeline.source.count()
            stopped = record_of(layout)
        assert_all_ended(stopped)
        ports = ports_of(stopped)
        assert len(ports) == 5
        wait_for(lambda: all(map(is_free, ports)), f"all of the ports {ports} to be free", timeout_s=5)
        with pytest.raises(StackError, match="was stopped"):
            stack.check()


@pytest.mark.filterwarnings("error")
def test_a_port_in_use_is_refused_before_anything_is_started(layout):
    wanted = random_ports()
    with (
        listening("127.0.0.1", int(wanted[API_PORT])),
        pytest.raises(StackError) as refusal,
        running_stack(layout.state, environment=wanted),
    ):
        pass
    assert_readable(refusal.value, wanted[API_PORT], API_PORT)
    assert record_of(layout).processes == []
    assert not layout.broker_data.exists()
    del refusal  # it holds the supervisor's process
    gc.collect()  # where its pipe is still open, the interpreter warns now


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
    for name, value in wanted.items():
        monkeypatch.setenv(name, value)
    assert local.settings_of(layout)[API_PORT] == wanted[API_PORT]


def test_clean_removes_the_state_and_keeps_the_jars(layout):
    for folder in (*layout.folders, layout.state / "jars"):
        folder.mkdir(parents=True)
        (folder / "file").touch()
    assert sorted(local.remove_state(layout)) == sorted(layout.folders)
    assert [path.name for path in layout.state.iterdir()] == ["jars"]
