"""Runs that fail with one sentence are one alert, which has it, and a run that takes too long is another."""

from __future__ import annotations

import pytest

from include.local.stack import Stack
from tests.support.http_notifier import receiving
from tests.support.stacks import added_pipelines, wait_for_run
from tests.support.workflows import TIMEOUT_S

pytestmark = pytest.mark.timeout(1800)

NAME = "alerted"
FILE = f"""
description = "Its topics do not exist."
[topics]
samples = "{NAME}.theirs"
requests = "{NAME}.theirs"
[format]
kind = "tensor.raw"
shape = [4]
dtype = "float32"
[envelope]
kind = "bare"
[model]
kind = "convnet"
[training]
labels = ["a", "b"]
[alerts]
train_s = 1
"""


def test_a_failed_run_is_one_alert_and_so_is_a_late_one_and_the_same_failure_again_is_none(stack: Stack) -> None:
    dag_id = f"{NAME}.train"
    with receiving() as receiver, added_pipelines(stack, {NAME: FILE + receiver.toml}):
        stack.api.unpause(dag_id)
        run = stack.api.trigger(dag_id, {"min_new_samples": 0})
        assert wait_for_run(stack.api, dag_id, run, timeout_s=TIMEOUT_S)["state"] == "failed"
        stack.api.wait_until(
            lambda: receiver.of("failed") and receiver.of("late"), timeout_s=TIMEOUT_S, what="an alert is missing"
        )
        # Callbacks are called in order: an alert about the second run would come before the third has ended.
        for _ in range(2):
            again = stack.api.trigger(dag_id, {"min_new_samples": 0})
            assert wait_for_run(stack.api, dag_id, again, timeout_s=TIMEOUT_S)["state"] == "failed"
        stack.api.wait_until(lambda: len(receiver.of("late")) == 3, timeout_s=TIMEOUT_S, what="an alert is missing")

    (failed,), (late, *_) = receiver.of("failed"), receiver.of("late")
    assert failed.startswith(f"Run {run} of {dag_id} has failed in ensure_topics: Topic {NAME}.theirs does not exist")
    assert late.startswith(f"Run {run} of {dag_id} has not ended 1 s after it was queued")
