"""Start runs by what waits in Kafka, in place of the clock."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

if TYPE_CHECKING:
    from include.backlogs import BacklogKey, BacklogPoller, BacklogStep
    from include.errors import PermanentError
    from include.exactly_once.waiting import Waiting

    Polled = Mapping[BacklogKey, Waiting | PermanentError]

log = logging.getLogger(__name__)

INTERVAL_S = 2.0
# A broker that does not answer delays the next poll of its own connection, and no other trigger.
REQUEST_TIMEOUT_S = 20.0
# The longest pause between two polls that fail; each is twice as long as the one before.
MAX_PAUSE_S = 300.0


class BacklogTrigger(BaseEventTrigger):
    """Fires when a step's backlog is enough for a run, by the thresholds in the pipeline's file; see `BacklogWatch`.

    One event stands for all that waits, however many records come. It depends on the state of topic and ledger and not
    on messages, so that a triggerer that was down, a paused DAG or a lost event only delay a run. Triggers of one
    connection and interval share one poller, with a thread of its own.

    Args:
        pipeline: the pipeline's name.
        step: `train` or `predict`.
        kafka_conn_id: the Airflow connection.
        interval: seconds between two polls.
        fault_pause: seconds before an error becomes an event.
    """

    def __init__(
        self,
        *,
        pipeline: str,
        step: BacklogStep,
        kafka_conn_id: str,
        interval: float = INTERVAL_S,
        fault_pause: float = 0.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.pipeline = pipeline
        self.step = step
        self.kafka_conn_id = kafka_conn_id
        self.interval = interval
        self.fault_pause = fault_pause

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class's path and its arguments."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "pipeline": self.pipeline,
                "step": self.step,
                "kafka_conn_id": self.kafka_conn_id,
                "interval": self.interval,
                "fault_pause": self.fault_pause,
            },
        )

    def shared_stream_key(self) -> Hashable:
        """Triggers of one connection and interval share a poller."""
        return "millrace-backlogs", self.kafka_conn_id, self.interval

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncIterator[Polled]:
        """The backlogs of all pipelines of the connection, polled until the trigger is cancelled."""
        from asgiref.sync import sync_to_async

        from include.backlogs import BacklogPoller
        from include.errors import MillraceError
        from millrace.connection import logged_in, with_keys

        connection_id = str(kwargs["kafka_conn_id"])
        poller = BacklogPoller(partial(logged_in, connection_id, timeout_s=REQUEST_TIMEOUT_S), with_keys)
        thread = ThreadPoolExecutor(1, thread_name_prefix=f"backlogs-{connection_id}")
        poll = sync_to_async(_poll, thread_sensitive=False, executor=thread)
        interval = pause = float(kwargs["interval"])
        failure = ""
        try:
            while True:
                try:
                    yield await poll(poller, connection_id)
                    failure, pause = "", interval
                except MillraceError as error:
                    # A login that is refused every two seconds would lock the account.
                    pause = min(2 * pause, MAX_PAUSE_S)
                    if str(error) != failure:
                        failure = str(error)
                        log.warning("The backlogs of connection %s are unknown: %s", connection_id, failure)
                await asyncio.sleep(pause)
        finally:
            # To wait for a broker that does not answer would stall all triggers.
            thread.shutdown(wait=False, cancel_futures=True)

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Polled]) -> AsyncIterator[TriggerEvent]:
        """An event whenever a run is due."""
        from asgiref.sync import sync_to_async

        from include.exactly_once.waiting import BacklogWatch, Waiting
        from millrace.alerts import alert_waiting

        watch = BacklogWatch()
        faults_count_from = time.monotonic() + self.fault_pause
        async for backlogs in shared_stream:
            found = backlogs.get((self.pipeline, self.step))
            if isinstance(found, Waiting):
                if watch.overdue(found):
                    await sync_to_async(alert_waiting, thread_sensitive=False)(self.pipeline, self.step, found)
                if watch.due(found):
                    yield TriggerEvent(event_payload(found))  # type: ignore[no-untyped-call]
            elif found is not None and time.monotonic() >= faults_count_from and watch.due_for_fault():
                yield TriggerEvent({"error": str(found)})  # type: ignore[no-untyped-call]

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """The same with a poller of its own, for a triggerer that shares none."""
        async for event in self.filter_shared_stream(self.open_shared_stream(self.serialize()[1])):
            yield event


def event_payload(found: Waiting) -> dict[str, Any]:
    """What an event says: how many records wait at least, for how long, and where their topics end."""
    return {
        "records": found.records,
        "oldest_s": found.age_s(time.time()),
        "ends": {f"{topic}/{partition}": end for (topic, partition), end in found.ends.items()},
    }


def _poll(poller: BacklogPoller, connection_id: str) -> Polled:
    from include.backlogs import STEPS
    from include.definition.files import load_pipelines

    return poller.poll(
        (pipeline, step)
        for pipeline in load_pipelines()[0]
        for step in STEPS
        if pipeline.connection_of(step) == connection_id
    )
