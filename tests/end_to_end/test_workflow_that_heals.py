"""Each part of the stack is killed in turn: it comes back by itself, and no request is lost or answered twice.

They come last, after the tests that count what the workflows themselves have written.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import psutil
import pytest

from include.kafka.connection import KafkaConnection
from include.kafka.ranges import freeze_ranges
from include.local.stack import Stack, what_ended
from include.local.stack_file import StackRecord
from tests.support.processes import wait_for
from tests.support.stacks import runs_of
from tests.support.workflow_requests import answers, ask, wait_for_answers
from tests.support.workflows import TIMEOUT_S

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

PIPELINE = "digits"
PREDICT, TRAIN = f"{PIPELINE}.predict", f"{PIPELINE}.train"
# By their names in `status`, what the command lines of their processes contain.
PARTS = {
    "Airflow's scheduler": "airflow scheduler",
    "Airflow's dag-processor": "airflow dag-processor",
    "Airflow's api-server": "airflow api",
    "Airflow's triggerer": "airflow triggerer",
    "The broker's node 1": "kafka.Kafka",
}
# A process starts within a minute on a loaded machine, and some are much slower.
START_S = 600
AWAY_S = 60


def process_of(stack: Stack, part: str) -> psutil.Process | None:
    """The part's process; None between two."""
    for child in psutil.Process(stack.record.supervisor.pid).children():
        # One that has ended in between has no command line.
        with suppress(psutil.NoSuchProcess):
            if PARTS[part] in " ".join(child.cmdline()):
                return child
    return None


def ends(stack: Stack, part: str) -> int:
    """How often `status` would say that the part has ended."""
    record = StackRecord.load(stack.layout.record_file)
    ending = record and record.endings.get(part)
    return ending.times if ending and ending.again else 0


def kill(stack: Stack, part: str) -> None:
    """SIGKILL the part, wait for its next process, and look for it in what `status` says."""
    before, killed = ends(stack, part), process_of(stack, part)
    assert killed is not None
    killed.kill()

    wait_for(lambda: ends(stack, part) > before, f"{part} runs again", timeout_s=START_S)
    assert process_of(stack, part) not in (None, killed)
    assert any(f"{part} was killed by SIGKILL" in said for said in what_ended(stack.layout))


def healthy(stack: Stack) -> bool:
    health = stack.api.get("/monitor/health")
    return all(part["status"] == "healthy" for part in health.values() if part["status"])


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_killed_comes_back_and_requests_are_answered(
    flow: Stack, kafka: KafkaConnection, record_property: Callable[[str, object], None], part: str
) -> None:
    before = {run["dag_run_id"] for run in runs_of(flow.api, PREDICT)}
    ids: list[str] = []

    kill(flow, part)
    for topic in (f"{PIPELINE}.requests", f"{PIPELINE}.predictions"):
        freeze_ranges(replace(kafka, timeout_s=START_S), topic)  # once the broker knows its partitions again
    began = time.monotonic()
    for _ in range(3):
        ids += ask(kafka, PIPELINE, 20)
    wait_for_answers(flow, kafka, PIPELINE, ids)
    record_property(part, f"60 requests were answered {time.monotonic() - began:.1f} s after its return")

    flow.api.wait_until(lambda: healthy(flow), timeout_s=START_S, what="a part is not healthy")
    assert answers(kafka, PIPELINE, ids) == Counter(ids)
    assert len({run["dag_run_id"] for run in runs_of(flow.api, PREDICT)} - before) <= 4


def test_a_broker_that_is_away_for_a_minute_delays_the_answers_and_loses_none(
    flow: Stack, kafka: KafkaConnection
) -> None:
    """It hangs, and so its process is not started again."""
    ids = ask(kafka, PIPELINE, 20)
    broker = process_of(flow, "The broker's node 1")
    assert broker is not None
    broker.suspend()
    try:
        time.sleep(AWAY_S)
    finally:
        broker.resume()
    ids += ask(kafka, PIPELINE, 20)

    wait_for_answers(flow, kafka, PIPELINE, ids)

    assert answers(kafka, PIPELINE, ids) == Counter(ids)
    assert process_of(flow, "The broker's node 1") == broker


def test_a_task_goes_on_when_its_scheduler_is_killed(flow: Stack) -> None:
    """Airflow's own executor would run it again as soon as the next scheduler finds that the last one is gone."""
    run = flow.api.trigger(TRAIN, {"min_new_samples": 0, "epochs": 5000})

    def task() -> tuple[object, object]:
        found = next(task for task in flow.api.tasks(TRAIN, run) if task["task_id"] == "train_model")
        return found["state"], found["try_number"]

    def gone() -> int:
        return sum(job["state"] == "failed" for job in flow.api.get("/jobs", job_type="SchedulerJob")["jobs"])

    flow.api.wait_until(lambda: task()[0] == "running", timeout_s=TIMEOUT_S, what="the training has not begun")
    before = gone()
    kill(flow, "Airflow's scheduler")

    flow.api.wait_until(lambda: gone() > before, timeout_s=START_S, what="the last scheduler counts as running")
    assert task() == ("running", 1)
    flow.api.patch(f"/dags/{TRAIN}/dagRuns/{run}", {"state": "success"})
    flow.api.wait_until(lambda: task()[0] != "running", timeout_s=START_S, what="the training goes on")
