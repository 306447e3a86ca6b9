"""A person refuses, lets expire and approves promotions, through Airflow's REST API; beside another pipeline.

Both pipelines read the same topics, which another application fills. Each test goes on where the one before it ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from include.exactly_once.ledger import LedgerKey
from include.exactly_once.snapshot import snapshot_ledger
from include.kafka.connection import KafkaConnection
from include.kafka.headers import write_headers
from include.kafka.topics import TopicSpec, ensure_topics
from include.local.airflow import USERNAME
from include.local.api import ApiError
from include.local.stack import Stack
from include.registry.agreement import read_agreement
from include.registry.approval import STEP
from tests.support.digit_trainings import PARTITIONS, digits_pipeline, fill
from tests.support.producers import Record, produce
from tests.support.stacks import added_pipelines, result_of, runs_of, wait_for_run
from tests.support.workflow_requests import answers, ask, wait_for_answers
from tests.support.workflows import TIMEOUT_S

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

APPROVED, BESIDE = "approved", "beside"
SAMPLES, REQUESTS = "shared.samples", "shared.requests"
FILE = f"""
description = "A second look at somebody else's digits."
[topics]
samples = "{SAMPLES}"
requests = "{REQUESTS}"
[format]
kind = "image.png"
height = 8
width = 8
[model]
kind = "convnet"
channels = [8]
hidden = 32
[training]
labels = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
epochs = 6
batch_size = 32
learning_rate = 0.02
min_new_samples = 1000000
[watch]
schedule = "0 0 1 1 *"
min_samples = 40
window = 60
retrain = true
[promotion]
floor = 0
"""
# What the scheduler's log says.
PARKED = "Pausing task as AWAITING_INPUT"
ENDED = f"executor event with state success for task instance TaskInstanceKey(dag_id='{APPROVED}.train', task_id='appr"
PERSON = f'approval = "person"\napprovers = ["{USERNAME}"]\n'
EXPIRES_SOON = PERSON + "approval_s = 2\n"
SOMEBODY_ELSE = PERSON.replace(USERNAME, "ada")
SHADOW = PERSON + "shadow = 1.0\n"


@pytest.fixture(scope="module")
def kafka(stack: Stack) -> KafkaConnection:
    return KafkaConnection(stack.kafka_settings, timeout_s=30)


@pytest.fixture(scope="module")
def pipelines(stack: Stack, kafka: KafkaConnection) -> Iterator[None]:
    """Two pipelines on the same topics, one of which asks a person."""
    ensure_topics(kafka, [TopicSpec(SAMPLES, PARTITIONS), TopicSpec(REQUESTS, PARTITIONS)])
    fill(kafka, SAMPLES, 700)
    fill(kafka, REQUESTS, 20, label=lambda _: None, start=700)
    with added_pipelines(stack, {APPROVED: FILE + PERSON, BESIDE: FILE}, ("train", "predict", "watch")):
        yield


def settings(stack: Stack, text: str) -> None:
    """Replace the file of the pipeline that asks a person; each task reads it when it begins."""
    Path(stack.record.settings["MILLRACE_PIPELINES"], f"{APPROVED}.toml").write_text(text)


def states(stack: Stack, run: str) -> dict[str, str | None]:
    return {item["task_id"]: item["state"] for item in stack.api.tasks(f"{APPROVED}.train", run)}


def asked(stack: Stack, run: str) -> dict[str, Any]:
    """What the person is shown, once the task waits and the scheduler knows that its process has ended.

    Airflow 3.3.2 loses an answer that comes before that, in the first moment, and tries the task again.
    """
    path = f"/dags/{APPROVED}.train/dagRuns/{run}/taskInstances/approve_model/-1/hitlDetails"

    def waits() -> bool:
        found = states(stack, run)
        assert found.get("approve_model") not in ("skipped", "upstream_failed", "failed"), found
        log = stack.layout.log_file("scheduler").read_text()
        return found.get("approve_model") == "awaiting_input" and log.rfind(ENDED) > log.rfind(PARKED) >= 0

    stack.api.wait_until(waits, timeout_s=TIMEOUT_S, what="nobody is asked")
    found: dict[str, Any] = stack.api.get(path)
    return found


def respond(stack: Stack, run: str, option: str) -> None:
    path = f"/dags/{APPROVED}.train/dagRuns/{run}/taskInstances/approve_model/-1/hitlDetails"
    stack.api.patch(path, {"chosen_options": [option], "params_input": {}})


def ask_again(stack: Stack, run: str) -> None:
    body = {"dry_run": False, "dag_run_id": run, "task_ids": ["approve_model", "promote_model"], "only_failed": False}
    stack.api.post(f"/dags/{APPROVED}.train/clearTaskInstances", {**body, "reset_dag_runs": True})


def ask_in_the_dark(kafka: KafkaConnection, number: int) -> list[str]:
    """Write requests whose images have a quarter of their light; return their ids."""
    pipeline = digits_pipeline()
    codec = pipeline.format
    requests = {
        sample.id: Record(codec.encode(sample.content // 4), sample.id.encode(), write_headers(codec.schema_name))
        for sample in pipeline.source.read(740, number)
    }
    for partition in range(PARTITIONS):
        produce(kafka, REQUESTS, islice(requests.values(), partition, None, PARTITIONS), partition=partition)
    return list(requests)


def decision(kafka: KafkaConnection, version: int = 1) -> tuple[str, str | None]:
    """What the ledger has about a version, and by whom."""
    key = LedgerKey(kafka.environment, APPROVED, STEP, str(version))
    entry = snapshot_ledger(kafka, [key])[key]
    return entry["decision"], entry["by"]


@pytest.mark.usefixtures("pipelines")
def test_a_promotion_is_refused_expires_and_is_approved_and_two_pipelines_answer_the_same_requests(
    stack: Stack, kafka: KafkaConnection
) -> None:
    dag_id = f"{APPROVED}.train"
    for name in (APPROVED, BESIDE):
        stack.api.unpause(f"{name}.train")
    run = stack.api.trigger(dag_id, {"min_new_samples": 0, "epochs": 2})
    other = stack.api.trigger(f"{BESIDE}.train", {"min_new_samples": 0})

    shown = asked(stack, run)
    assert shown["subject"] == f"Is version 1 of {APPROVED} to be the first champion?"
    assert "| accuracy | 0." in shown["body"]
    assert "Confusion matrix of version 1" in shown["body"]
    assert [user["id"] for user in shown["assigned_users"]] == [USERNAME]
    respond(stack, run, "Reject")
    assert wait_for_run(stack.api, dag_id, run, timeout_s=TIMEOUT_S)["state"] == "success"
    assert states(stack, run)["approve_model"] == "success"
    assert states(stack, run)["promote_model"] == "skipped"
    assert decision(kafka) == ("refused", USERNAME)

    settings(stack, FILE + EXPIRES_SOON)
    ask_again(stack, run)
    assert wait_for_run(stack.api, dag_id, run, timeout_s=TIMEOUT_S)["state"] == "failed"
    assert states(stack, run)["approve_model"] == "failed"
    assert states(stack, run)["promote_model"] == "upstream_failed"
    assert decision(kafka) == ("expired", None)

    settings(stack, FILE + PERSON)
    ask_again(stack, run)
    asked(stack, run)
    respond(stack, run, "Approve")
    assert wait_for_run(stack.api, dag_id, run, timeout_s=TIMEOUT_S)["state"] == "success"
    assert states(stack, run)["promote_model"] == "success"
    assert decision(kafka) == ("approved", USERNAME)

    assert wait_for_run(stack.api, f"{BESIDE}.train", other, timeout_s=TIMEOUT_S)["state"] == "success"
    for name in (APPROVED, BESIDE):
        stack.api.unpause(f"{name}.predict")
    ids = ask(kafka, "shared", 30)
    for name in (APPROVED, BESIDE):
        wait_for_answers(stack, kafka, name, ids)
        assert answers(kafka, name, ids) == Counter(ids)


@pytest.mark.usefixtures("pipelines")
def test_a_challenger_answers_beside_the_champion_until_the_person_who_is_asked_approves_it(
    stack: Stack, kafka: KafkaConnection
) -> None:
    dag_id = f"{APPROVED}.train"
    settings(stack, FILE + SOMEBODY_ELSE)
    run = stack.api.trigger(dag_id, {"min_new_samples": 0})

    shown = asked(stack, run)
    assert shown["subject"] == f"Is version 2 of {APPROVED} to be champion in place of version 1?"
    for model in ("version 2", "champion 1"):
        assert f"Confusion matrix of {model}" in shown["body"]
    assert [user["id"] for user in shown["assigned_users"]] == ["ada"]
    with pytest.raises(ApiError) as refused:
        respond(stack, run, "Approve")
    assert refused.value.status == HTTPStatus.FORBIDDEN
    stack.api.patch(f"/dags/{dag_id}/dagRuns/{run}", {"state": "failed"})

    # Airflow keeps those who were asked first when a task is cleared, so it takes another run to ask others.
    settings(stack, FILE + SHADOW)
    run = stack.api.trigger(dag_id, {"min_new_samples": 0})
    asked(stack, run)
    ids = ask(kafka, "shared", 30)
    wait_for_answers(stack, kafka, APPROVED, ids)
    assert answers(kafka, APPROVED, ids) == Counter(ids)
    agreement = read_agreement(kafka, APPROVED, 1, 3)
    assert agreement.requests == 30
    assert agreement.agreed + len(agreement.disagreements) == 30
    respond(stack, run, "Approve")
    assert wait_for_run(stack.api, dag_id, run, timeout_s=TIMEOUT_S)["state"] == "success"
    assert decision(kafka, 3) == ("approved", USERNAME)


@pytest.mark.usefixtures("pipelines")
def test_a_champion_whose_requests_have_changed_is_trained_again(stack: Stack, kafka: KafkaConnection) -> None:
    before = {run["dag_run_id"] for run in runs_of(stack.api, f"{APPROVED}.train")}
    fill(kafka, SAMPLES, 20, start=720)
    wait_for_answers(stack, kafka, APPROVED, ask_in_the_dark(kafka, 120))

    watch = stack.api.trigger(f"{APPROVED}.watch")
    stack.api.unpause(f"{APPROVED}.watch")
    assert wait_for_run(stack.api, f"{APPROVED}.watch", watch, timeout_s=TIMEOUT_S)["state"] == "success"
    assert result_of(stack.api, f"{APPROVED}.watch", watch, "watch_model")["over"][0] == "input_drift"

    def begun() -> str | None:
        found = [run for run in runs_of(stack.api, f"{APPROVED}.train") if run["dag_run_id"] not in before]
        return found[0]["dag_run_id"] if found else None

    run = stack.api.wait_until(begun, timeout_s=TIMEOUT_S, what="the drift has started no training")
    assert run.startswith("asset_triggered__")
    stack.api.wait_until(
        lambda: states(stack, run).get("train_model") == "success", timeout_s=TIMEOUT_S, what="nothing was trained"
    )
