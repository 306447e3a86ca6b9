"""The backlogs of all pipelines, for what follows the data: a trigger, a command, a page."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from include.definition.pipeline import Pipeline
from include.errors import MillraceError, PermanentError
from include.exactly_once.ledger import ledger_name
from include.exactly_once.waiting import Thresholds, Waiting
from include.kafka.connection import KafkaConnection
from include.kafka.ranges import log_ends
from include.prediction.backlog import waiting_requests
from include.training.backlog import waiting_samples

BacklogStep = Literal["train", "predict"]
# Pipeline and step.
BacklogKey = tuple[str, BacklogStep]
STEPS: tuple[BacklogStep, ...] = ("train", "predict")


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
    """A backlog, and what it was measured from."""

    pipeline: Pipeline
    topics: tuple[object, ...]
    ledger: object
    found: Waiting | PermanentError

    def holds(self, pipeline: Pipeline, topics: tuple[object, ...], ledger: object) -> bool:
        """Whether the backlog must still be the same."""
        if (self.pipeline, self.topics) != (pipeline, topics):
            return False
        # The ledger only takes from a backlog, so an empty one stays empty.
        return self.ledger == ledger or (isinstance(self.found, Waiting) and not self.found.records)


class BacklogPoller:
    """Polls the backlogs of steps that share a connection: two requests for all, and more where something has changed.

    Args:
        connect: logs in.
        complete: adds the keys of a pipeline to that connection.
    """

    def __init__(
        self, connect: Callable[[], KafkaConnection], complete: Callable[[KafkaConnection, Pipeline], KafkaConnection]
    ) -> None:
        self._connect, self._complete = connect, complete
        self._connection: KafkaConnection | None = None
        self._measured: dict[BacklogKey, _Measurement] = {}

    def poll(self, steps: Iterable[tuple[Pipeline, BacklogStep]]) -> Mapping[BacklogKey, Waiting | PermanentError]:
        """What waits now, by pipeline and step; a step is left out while one of its topics does not exist.

        An error is one that a run of the step would fail with.

        Raises:
            BrokerUnavailable, AccessDenied: see include.kafka.
        """
        try:
            return self._poll(list(steps))
        except MillraceError:
            self._connection = None  # its settings may be corrected meanwhile
            raise

    def _poll(self, steps: list[tuple[Pipeline, BacklogStep]]) -> dict[BacklogKey, Waiting | PermanentError]:
        if not steps:
            return {}
        connection = self._connection = self._connection or self._connect()
        ledger = ledger_name(connection.environment)
        topics = {topic for pipeline, step in steps for topic in step_topics(pipeline, step)}
        ends = log_ends(connection, sorted({*topics, ledger}))
        measured: dict[BacklogKey, _Measurement] = {}
        for pipeline, step in steps:
            wanted = step_topics(pipeline, step)
            if ledger in ends and all(topic in ends for topic in wanted):
                seen = self._measured.get((pipeline.name, step))
                read = (pipeline, tuple(ends[topic] for topic in wanted), ends[ledger])
                if seen is None or not seen.holds(*read):
                    seen = _Measurement(*read, self._waiting(connection, pipeline, step))
                measured[pipeline.name, step] = seen
        self._measured = measured
        return {key: item.found for key, item in measured.items()}

    def _waiting(self, connection: KafkaConnection, pipeline: Pipeline, step: BacklogStep) -> Waiting | PermanentError:
        try:
            return waiting(self._complete(connection, pipeline), pipeline, step)
        except PermanentError as error:
            return error
