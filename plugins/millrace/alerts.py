"""Tell people what needs them: by the notifiers of a pipeline's file, or in a log."""

from __future__ import annotations

import logging
import pkgutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import BaseNotifier

from include.definition.files import load_pipeline
from include.definition.tables import Notify
from include.errors import MillraceError, amount, one_line

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.definition.pipeline import Pipeline
    from include.exactly_once.waiting import Waiting

log = logging.getLogger(__name__)

# The key of the XCom in which a failed task leaves its error.
FAILURE = "failure"
# The Airflow variable with a DAG's last alert about a failure has this name, followed by the DAG's id.
LAST_ALERT = "millrace.alert."
# After so many seconds an unchanged failure is one more alert.
REPEAT_S = 86_400.0
# The states of a run that has not ended.
ACTIVE = ("queued", "running")


@dataclass(frozen=True)
class Alert:
    """What a notifier's arguments may name, as `{{ alert.text }}`.

    Attributes:
        event: a run has failed or takes too long, a step is held until a person acknowledges it, requests wait for too
            long, a person is asked, or a figure of the served model is beyond its limit.
        pipeline: its name.
        title: a few words.
        text: sentences.
    """

    event: Literal["failed", "late", "held", "waiting", "approval", "watch"]
    pipeline: str
    title: str
    text: str


class LogNotifier(BaseNotifier):
    """Writes an alert to the log of the process that raises it."""

    def notify(self, context: Context) -> None:
        """Log it as an error."""
        alert: Any = context.get("alert")
        log.error("ALERT %s: %s", alert.title, alert.text)


DEFAULT = (Notify(notifier=f"{__name__}.{LogNotifier.__name__}"),)


def send(pipeline: Pipeline, alert: Alert, context: Any = None) -> bool:
    """Give an alert to all notifiers of the pipeline; one that fails is logged and stops none of the others.

    Args:
        context: what the notifiers' templates may name besides `alert`.

    Returns:
        Whether at least one notifier did not fail.
    """
    sent = False
    # With the DAG, templates would be rendered as Python's values, and a text may look like one.
    names = {name: value for name, value in (context or {}).items() if name != "dag"}
    for entry in pipeline.alerts.notify or DEFAULT:
        try:
            pkgutil.resolve_name(entry.notifier)(**entry.arguments)({**names, "alert": alert})
            sent = True
        except Exception as error:  # noqa: BLE001 - a notifier may raise anything
            log.error(  # noqa: TRY400 - without the arguments of the call, which may hold a secret
                "The alert %r of %s was not sent by %s (%s): correct alerts.notify in %s.toml, or its connection. Its "
                "text: %s",
                alert.title,
                pipeline.name,
                entry.notifier,
                one_line(error),
                pipeline.name,
                alert.text,
            )
    return sent


def leave_failure(context: Any, error: MillraceError) -> None:
    """Leave a task's error where the alert about its run finds it, and how often the task has succeeded so far."""
    if (instance := context.get("ti")) is None:
        return
    left: dict[str, Any] = {"kind": type(error).__name__, "text": str(error)}
    try:
        # Airflow 3.3.2 gives a run's callback no counts.
        left["successes"] = instance.get_ti_count(
            dag_id=instance.dag_id, task_ids=[instance.task_id], states=["success"]
        )
    except Exception as failure:  # noqa: BLE001 - whatever it is, the error is what the task has to leave
        log.warning("How often the task has succeeded is not known (%s).", one_line(failure))
    instance.xcom_push(FAILURE, left)


def alert_failed_run(context: Any) -> None:
    """Airflow's callback for a failed run; not for one that found its step held, or has failed just as the ones before.

    A fault that stays would otherwise be an alert for each run that meets it.
    """
    instance = context.get("ti")
    dag_id, run = context["dag"].dag_id, context["run_id"]
    name = dag_id.rpartition(".")[0]
    failures: list[dict[str, Any]] = []
    where = ""
    if instance is not None:
        where = f" in {instance.task_id}"
        # A mapped task leaves one for each of its tasks that failed.
        failures = [found for found in instance.xcom_pull(task_ids=[instance.task_id], key=FAILURE) or () if found]
    new = [failure for failure in failures if failure["kind"] != "StepHeld"]
    if failures and not new:
        return
    same = {"task": instance.task_id, "text": new[0]["text"], "successes": new[0].get("successes")} if new else {}
    if _is_repeated(dag_id, same):
        log.warning(
            "Run %s of %s has failed like the last one, so there is no new alert: %s", run, dag_id, same["text"]
        )
        return
    text = new[0]["text"] if new else f"Its log says why ({context.get('reason') or 'no reason is known'})."
    text = f"Run {run} of {dag_id} has failed{where}: {text}"
    if any(failure["kind"] == "TooManyRejected" for failure in new):
        alert = Alert("held", name, f"{dag_id} is held", text)
    else:
        alert = Alert("failed", name, f"{dag_id} has failed", text)
    if send(load_pipeline(name), alert, context):
        _remember(dag_id, same)


def _is_repeated(dag_id: str, failure: Mapping[str, Any]) -> bool:
    """Whether the DAG's last alert was about the same failure, and the task has succeeded in no run since.

    Airflow's database has it, as callbacks may run on any machine. Where it cannot be read, an alert is repeated.
    """
    from airflow.sdk import Variable

    if failure.get("successes") is None:
        return False
    try:
        last = Variable.get(f"{LAST_ALERT}{dag_id}", default=None, deserialize_json=True) or {}
        return failure == {key: last.get(key) for key in failure} and time.time() < last["at"] + REPEAT_S
    except Exception as error:  # noqa: BLE001 - whatever it is, people must hear of the run
        log.warning(
            "The last alert of %s is not known (%s), so this failure may be a repetition.", dag_id, one_line(error)
        )
        return False


def _remember(dag_id: str, failure: Mapping[str, Any]) -> None:
    """Keep the failure that an alert was sent about."""
    from airflow.sdk import Variable

    if failure.get("successes") is None:
        return
    try:
        Variable.set(f"{LAST_ALERT}{dag_id}", {**failure, "at": time.time()}, serialize_json=True)
    except Exception as error:  # noqa: BLE001 - the alert was sent
        log.warning(
            "The alert of %s cannot be kept (%s), so the same failure is one more alert.", dag_id, one_line(error)
        )


def alert_waiting(name: str, step: str, found: Waiting) -> None:
    """Requests have waited for longer than `[alerts] waiting_s`."""
    pipeline = load_pipeline(name)
    age, records = found.age_s(time.time()) or 0.0, amount(found.records, "record waits", "records wait")
    text = (
        f"At least {records} for {name}.{step}, the oldest for {age:.0f} s, and alerts.waiting_s is "
        f"{found.thresholds.alert_s:g}: look at its last runs, or whether the DAG is paused."
    )
    send(pipeline, Alert("waiting", name, f"{name}.{step} is behind", text))


async def alert_late_run(pipeline: str, seconds: float, context: Any = None) -> None:
    """The callback of a deadline: a run takes too long. One that has ended meanwhile raises no alert."""
    from asgiref.sync import sync_to_async

    run = (context or {}).get("dag_run") or {}
    if run.get("state") not in ACTIVE:
        return
    dag_id = run["dag_id"]
    text = f"Run {run['dag_run_id']} of {dag_id} has not ended {seconds:g} s after it was queued: look at its tasks."
    alert = Alert("late", pipeline, f"{dag_id} takes too long", text)
    await sync_to_async(send, thread_sensitive=False)(load_pipeline(pipeline), alert)
