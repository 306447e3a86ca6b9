"""The backlogs of all pipelines, for what follows the data: a trigger, a command, a page."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from include.definition.pipeline import Pipeline
from include.errors import MillraceError, PermanentError
from include.exactly_once.ledger import ledger_name
from include.exactly_once.waiting import Thresholds, Waiting
from include.kafka.connection import KafkaConnection
from include.kafka.errors import BrokerUnavailable
from include.kafka.ranges import LogEnds, log_ends_of_each
from include.kafka.topics import describe_topics
from include.prediction.backlog import waiting_requests
from include.training.backlog import waiting_samples

log = logging.getLogger(__name__)

BacklogStep = Literal["train", "predict"]
# Pipeline and step.
BacklogKey = tuple[str, BacklogStep]
STEPS: tuple[BacklogStep, ...] = ("train", "predict")
# After so many seconds an error is looked for again, though topics and ledger are unchanged.
FAULT_HELD_S = 60.0
LOGGED_AT_POLL = 2


def waiting(
    connection: KafkaConnection, pipeline: Pipeline, step: BacklogStep, thresholds: Thresholds | None = None
) -> Waiting:
    """What waits for a step; see `waiting_samples` and `waiting_requests` for arguments and errors."""
    read = waiting_samples if step == "train" else waiting_requests
    return read(connection, pipeline, thresholds)


def step_topics(pipeline: Pipeline, step: BacklogStep) -> tuple[str, ...]:
    if step == "predict":
        return (pipeline.requests_topic,)
    return tuple(filter(None, (pipeline.samples_topic, pipeline.labels_topic)))


@dataclass(frozen=True)
class _Measurement:
    """A backlog or why it is unknown, what it was measured from, and when."""

    pipeline: Pipeline
    logs: tuple[LogEnds, ...]
    ledger: LogEnds
    found: Waiting | MillraceError
    at: float

    def holds(self, pipeline: Pipeline, logs: tuple[LogEnds, ...], ledger: LogEnds, now: float) -> bool:
        """Whether the same would still be found."""
        if (self.pipeline, self.logs) != (pipeline, logs):
            return False
        if isinstance(self.found, Waiting):
            # The ledger only takes from a backlog, so an empty one stays empty.
            return self.ledger == ledger or not self.found.records
        # Its cause may lie elsewhere, in an Airflow connection or a right.
        return isinstance(self.found, PermanentError) and self.ledger == ledger and now - self.at < FAULT_HELD_S


class BacklogPoller:
    """Polls the backlogs of steps that share a connection: three requests for all, more where something has changed.

    Args:
        connect: logs in.
        complete: adds the keys of a pipeline to that connection.
        clock: seconds, for how long an error is held.
    """

    def __init__(
        self,
        connect: Callable[[], KafkaConnection],
        complete: Callable[[KafkaConnection, Pipeline], KafkaConnection],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect, self._complete, self._clock = connect, complete, clock
        self._connection: KafkaConnection | None = None
        self._connected_at = 0.0
        self._measured: dict[BacklogKey, _Measurement] = {}
        # By reason, for how many polls it has stood.
        self._unknown: dict[str, int] = {}

    def poll(self, steps: Iterable[tuple[Pipeline, BacklogStep]]) -> Mapping[BacklogKey, Waiting | PermanentError]:
        """What waits now, by pipeline and step.

        An error is one that a run of the step would fail with. A step is left out while one of its topics does not
        exist, and while its backlog is unknown for a reason that may pass, which is logged.

        Raises:
            BrokerUnavailable, AccessDenied: nothing is known about any step; see include.kafka.
        """
        try:
            found = self._poll(list(steps))
        except MillraceError:
            self._connection = None  # its settings may be corrected meanwhile
            raise
        faulty = any(isinstance(item, MillraceError) for item in found.values())
        if faulty and self._clock() - self._connected_at >= FAULT_HELD_S:
            self._connection = None  # so may they here, though others still get their answers by them
        self._log_unknown(found)
        return {key: item for key, item in found.items() if isinstance(item, Waiting | PermanentError)}

    def _poll(self, steps: list[tuple[Pipeline, BacklogStep]]) -> dict[BacklogKey, Waiting | MillraceError]:
        if not steps:
            return {}
        if self._connection is None:
            self._connection, self._connected_at = self._connect(), self._clock()
            # An error of an earlier login says nothing about this one.
            self._measured = {key: seen for key, seen in self._measured.items() if isinstance(seen.found, Waiting)}
        found: dict[BacklogKey, Waiting | MillraceError] = {}
        with self._connection.with_one_admin() as connection:
            ledger = ledger_name(connection.environment)
            topics = {topic for pipeline, step in steps for topic in step_topics(pipeline, step)}
            ends = log_ends_of_each(connection, sorted({*topics, ledger}))
            _refuse_all(ends, ledger)
            for pipeline, step in steps:
                logs = [ends.get(topic) for topic in (*step_topics(pipeline, step), ledger)]
                known = tuple(item for item in logs if isinstance(item, tuple))
                error = next((item for item in logs if isinstance(item, MillraceError)), None)
                if error is not None:
                    found[pipeline.name, step] = error
                elif len(known) == len(logs):
                    found[pipeline.name, step] = self._measure(connection, pipeline, step, known)
        self._measured = {key: item for key, item in self._measured.items() if key in found}
        return found

    def _measure(
        self, connection: KafkaConnection, pipeline: Pipeline, step: BacklogStep, ends: tuple[LogEnds, ...]
    ) -> Waiting | MillraceError:
        """The backlog, as it was measured before if it must still be the same.

        Args:
            ends: of the step's topics and of the ledger.
        """
        *logs, ledger = ends
        read = (pipeline, tuple(logs), ledger)
        seen = self._measured.get((pipeline.name, step))
        if seen is None or not seen.holds(*read, self._clock()):
            seen = _Measurement(*read, self._waiting(connection, pipeline, step), self._clock())
            self._measured[pipeline.name, step] = seen
        return seen.found

    def _waiting(self, connection: KafkaConnection, pipeline: Pipeline, step: BacklogStep) -> Waiting | MillraceError:
        try:
            return waiting(self._complete(connection, pipeline), pipeline, step)
        except BrokerUnavailable as error:
            # Without any broker this raises, and no other step waits for one in vain.
            describe_topics(connection, [ledger_name(connection.environment)])
            return error
        except MillraceError as error:
            return error

    def _log_unknown(self, found: Mapping[BacklogKey, Waiting | MillraceError]) -> None:
        """Log each reason once for as long as it stands, if it does at the next poll, too: an election takes less."""
        steps: dict[str, list[str]] = {}
        for (pipeline, step), item in found.items():
            if not isinstance(item, Waiting | PermanentError):
                steps.setdefault(str(item), []).append(f"{pipeline}.{step}")
        self._unknown = {reason: self._unknown.get(reason, 0) + 1 for reason in steps}
        for reason, names in steps.items():
            if self._unknown[reason] == LOGGED_AT_POLL:
                log.warning("What waits for %s is unknown: %s", ", ".join(names), reason)


def _refuse_all(ends: Mapping[str, LogEnds | MillraceError], ledger: str) -> None:
    """Raise an error that no step can be without: no access to the ledger, or no answer about any topic."""
    error = ends.get(ledger)
    for_all = all(isinstance(item, MillraceError) for item in ends.values())
    if isinstance(error, PermanentError) or (isinstance(error, MillraceError) and for_all):
        raise error
