"""Kill, orphan and mark as failed the tasks of a real Airflow, whose own retries and clears finish them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from unittest.mock import patch

import psutil

from include.definition.files import load_pipeline
from include.kafka.connection import KafkaConnection
from include.kafka.topics import ensure_topics
from tests.faults.rows import Row, Setting, middle
from tests.faults.scheduled import NAME, PIPELINE, DagTask, Ingest, Prediction, Scene, Training
from tests.faults.tasks import (
    AirflowTask,
    frozen,
    kill_group,
    kill_process,
    kill_supervisor,
    wait_for_sigterm,
    wait_until_gone,
)
from tests.faults.witness import Witness, key_of, request_of
from tests.support.processes import wait_for
from tests.support.stacks import running_stack, wait_for_run

# For a run with its retries on a loaded machine.
RUN_S = 900.0

# The scheduler detects a dead supervisor by missing heartbeats. Its usual minute would prove no more.
HASTE = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
}

Kill = Callable[[psutil.Process], None]
Mark = Callable[[AirflowTask], None]


def run(setting: Setting) -> list[Row]:
    """Hit the working task of each DAG in every way, one DAG after the other, and count the results."""
    pipelines = setting.folder / "pipelines"
    pipelines.mkdir()
    (pipelines / f"{NAME}.toml").write_text(PIPELINE, encoding="utf-8")
    environment = {**HASTE, "MILLRACE_PIPELINES": str(pipelines)}
    with (
        running_stack(setting.folder / "stack", environment=environment, on_step=setting.say) as stack,
        patch.dict(os.environ, {**environment, "MILLRACE_STATE": str(stack.layout.state)}),
    ):
        kafka = KafkaConnection({"bootstrap.servers": stack.record.bootstrap_servers})
        pipeline = load_pipeline(NAME)
        ensure_topics(kafka, pipeline.topic_specs())
        keyed = dict.fromkeys((pipeline.samples_topic, pipeline.requests_topic), key_of)
        addressed = dict.fromkeys((pipeline.predictions_topic, pipeline.dead_letters_topic), request_of)
        with Witness(kafka, {**keyed, **addressed}) as witness:
            scene = Scene(stack, kafka, pipeline, witness)
            training = Training(scene, setting.folder / "reference")
            # An orphan must still work when the retry fences it, almost a minute later.
            prediction = Prediction(scene, asked=(500, 4000, 500))
            return [
                *_hit(Ingest(scene), [kill_process, kill_process], AirflowTask.mark_failed, setting.say),
                *_hit(training, [kill_process, kill_group, kill_supervisor], AirflowTask.mark_run_failed, setting.say),
                *_hit(prediction, [kill_process, kill_supervisor], AirflowTask.mark_failed, setting.say),
            ]


def _hit(work: DagTask, kills: list[Kill], mark: Mark, say: Callable[[str], None]) -> list[Row]:
    work.scene.stack.api.unpause(work.dag_id)
    recovered: list[float] = []
    for kill in kills:
        say(f"{work.dag_id}: {kill.__name__.replace('_', ' ')}")
        recovered.append(_kill(work, kill))
    say(f"{work.dag_id}: marked failed")
    more, cleared = _mark_failed(work, mark)
    lost, duplicated = work.verdict()
    what = ", ".join(dict.fromkeys(kill.__name__.removeprefix("kill_") for kill in kills))
    task = f"Airflow's {work.workflow} task"
    return [
        Row(f"{task}: {what} killed, retried", len(kills), lost, duplicated, middle(recovered)),
        Row(f"{task}: marked failed in the UI's way, cleared", 1, lost, duplicated + more, middle([cleared])),
    ]


def _kill(work: DagTask, kill: Kill) -> float:
    """Kill a task; returns the seconds until Airflow's retry has succeeded."""
    task = work.begin()
    process = task.process()
    work.wait_until_busy(process)
    family = [process, *process.children(recursive=True)]
    began = time.monotonic()
    kill(process)
    work.let_go_on()
    if kill is not kill_supervisor:
        wait_until_gone(family)
    return _succeeds(task, began, family)


def _succeeds(task: AirflowTask, began: float, family: list[psutil.Process]) -> float:
    def succeeded() -> bool:
        state = task.look()["state"]
        assert state not in ("failed", "skipped"), f"{task} is {state}, see {task.stack.layout.task_logs}"
        return bool(state == "success")

    wait_for(succeeded, f"{task.task_id} to succeed", timeout_s=RUN_S)
    recovered = time.monotonic() - began
    assert task.look()["try_number"] > 1, "nothing had to be retried"
    ended = wait_for_run(task.stack.api, task.dag_id, task.run_id, timeout_s=RUN_S)
    assert ended["state"] == "success", ended
    wait_until_gone(family)
    return recovered


def _mark_failed(work: DagTask, mark: Mark) -> tuple[int, float]:
    """Mark a task as failed; returns the results it still committed, and the seconds until a clear has succeeded."""
    task = work.begin()
    process = task.process()
    work.wait_until_busy(process)
    # Airflow sends SIGTERM within some seconds. Results committed before it are legitimate.
    with frozen(process):
        family = [process, *process.children(recursive=True)]
        mark(task)
        wait_for_sigterm(process)
        before = work.done()
        work.let_go_on()
    wait_until_gone(family)
    assert task.look()["state"] == "failed", task.look()
    more = work.done() - before
    began = time.monotonic()
    task.clear()
    return more, _succeeds(task, began, family)
