"""Runs that follow the data, and one that goes back to it, with the real triggerer and scheduler.

Another application writes the requests.

They come after test_workflow.py, which counts what the workflows themselves have written.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable

import pytest

from include.kafka.connection import KafkaConnection
from include.local.stack import Stack
from tests.support.consumers import committed_records
from tests.support.stacks import runs_of, wait_for_run
from tests.support.workflow_requests import answers, ask, wait_for_answers
from tests.support.workflows import TIMEOUT_S

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

PIPELINE = "digits"
PREDICT, REPREDICT = f"{PIPELINE}.predict", f"{PIPELINE}.repredict"
BURSTS = 10
REQUESTS = 1000


def test_what_a_version_has_answered_is_answered_again_with_the_same_bytes_and_once(
    flow: Stack, kafka: KafkaConnection
) -> None:
    answered = [
        (record.key(), record.value())
        for record in committed_records(kafka, f"{PIPELINE}.predictions")
        if json.loads(record.value() or b"")["version"] == 1
    ]
    assert len(answered) > 100

    for _ in range(2):
        run = flow.api.trigger(REPREDICT, {"answered_by": 1, "version": "1"})
        assert wait_for_run(flow.api, REPREDICT, run, timeout_s=TIMEOUT_S)["state"] == "success"

        again = committed_records(kafka, f"{PIPELINE}.repredictions")
        assert Counter((record.key(), record.value()) for record in again) == Counter(answered)


def test_bursts_are_answered_once_by_far_fewer_runs_than_messages(flow: Stack, kafka: KafkaConnection) -> None:
    before = {run["dag_run_id"] for run in runs_of(flow.api, PREDICT)}
    ids: list[str] = []
    for _ in range(BURSTS):
        ids += ask(kafka, PIPELINE, REQUESTS // BURSTS)

    wait_for_answers(flow, kafka, PIPELINE, ids)

    assert answers(kafka, PIPELINE, ids) == Counter(ids)
    started = {run["dag_run_id"] for run in runs_of(flow.api, PREDICT)} - before
    assert 1 <= len(started) <= BURSTS


def test_a_single_request_is_answered_soon(
    flow: Stack,
    kafka: KafkaConnection,
    record_property: Callable[[str, object], None],
) -> None:
    began = time.monotonic()
    wait_for_answers(flow, kafka, PIPELINE, ask(kafka, PIPELINE, 1))
    record_property("from idle", f"a request was answered after {time.monotonic() - began:.1f} s")


def test_requests_that_came_while_the_dag_was_paused_are_answered_after_it(flow: Stack, kafka: KafkaConnection) -> None:
    flow.api.patch(f"/dags/{PREDICT}", {"is_paused": True})
    try:
        ids = ask(kafka, PIPELINE, 5)
    finally:
        flow.api.unpause(PREDICT)

    wait_for_answers(flow, kafka, PIPELINE, ids)

    assert answers(kafka, PIPELINE, ids) == Counter(ids)
