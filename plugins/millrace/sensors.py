"""Wait within a DAG until a step's backlog is enough for a run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from include.definition.files import load_pipeline
from millrace.connection import pipeline_connection
from millrace.operators.base import airflow_errors
from millrace.triggers import BacklogTrigger, event_payload

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.backlogs import BacklogStep


class BacklogSensor(BaseSensorOperator):
    """Succeeds when enough waits for a step, by the thresholds in the pipeline's file.

    It returns `records` (counted to the number that is enough), `oldest_s` (seconds, where the age may decide) and
    `ends` (by topic/partition). After `timeout` seconds of waiting it fails, or is skipped with `soft_fail`.

    Args:
        pipeline: the pipeline's name.
        step: `train` or `predict`.
        request_timeout: seconds that any one request to Kafka may take.
        deferrable: wait in the triggerer, and take no worker's slot.
    """

    template_fields: Sequence[str] = ("pipeline",)

    def __init__(
        self,
        *,
        pipeline: str,
        step: BacklogStep,
        request_timeout: float = 60.0,
        deferrable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pipeline = pipeline
        self.step = step
        self.request_timeout = request_timeout
        self.deferrable = deferrable

    def execute(self, context: Context) -> Any:
        """Look at once, and wait in the triggerer if too little is there."""
        if not self.deferrable:
            return super().execute(context)
        now = self.poke(context)
        if now.is_done:
            return now.xcom_value
        return self._wait(time.time() + self.timeout)

    def _wait(self, deadline: float, *, fault_pause: float = 0.0) -> NoReturn:
        """Wait in the triggerer until `deadline`, in seconds since 1970."""
        trigger = BacklogTrigger(
            pipeline=self.pipeline,
            step=self.step,
            kafka_conn_id=load_pipeline(self.pipeline).connection_of(self.step),
            fault_pause=fault_pause,
        )
        left = timedelta(seconds=max(deadline - time.time(), 0.0))
        self.defer(trigger=trigger, method_name="resume", kwargs={"deadline": deadline}, timeout=left)

    def poke(self, context: Context) -> PokeReturnValue:  # noqa: ARG002
        """Whether enough waits now."""
        from include.backlogs import waiting

        with airflow_errors():
            pipeline = load_pipeline(self.pipeline)
            connection = pipeline_connection(pipeline, self.step, timeout_s=self.request_timeout)
            found = waiting(connection, pipeline, self.step)
        return PokeReturnValue(found.enough(time.time()), event_payload(found))

    def resume(self, context: Context, event: dict[str, Any], deadline: float | None = None) -> Any:
        """End with what the trigger found; where it found an error, look again: raise it, or go on if it is gone.

        Args:
            deadline: see `_wait`; None for a sensor that an earlier version left in the triggerer.
        """
        if "error" not in event:
            return event
        now = self.poke(context)
        if now.is_done:
            return now.xcom_value
        # The triggerer may still see what this worker does not, and would give the same event at once.
        return self._wait(time.time() + self.timeout if deadline is None else deadline, fault_pause=self.poke_interval)
