"""Each pipeline as the flow that it is: how full its topics are, what waits for its steps, what has stopped them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from include.backlogs import STEPS, BacklogStep, step_topics
from include.errors import MillraceError
from include.exactly_once.backlog import backlog_after
from include.exactly_once.entries import Hold
from include.exactly_once.ledger import ledger_name
from include.exactly_once.progress import count_records, progress_scope
from include.exactly_once.snapshot import reader_group
from include.exactly_once.waiting import oldest_timestamp
from include.kafka.ranges import LogHistory, OffsetRange, log_histories
from include.overview.kept import RangeCache
from include.overview.ledger import DatedEntry, LedgerView
from include.prediction.hold import SCOPE

if TYPE_CHECKING:
    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection

# Records are read to count them, since offsets are no count; beyond this many nobody needs the exact number.
COUNTED = 1000
# How long ago each entry of `TopicLevel.since` begins, in seconds.
WINDOWS_S = (60, 3600)
# Steps whose entries say how versions became champions.
HISTORY = ("model", "approval", "rollback")
# A broker that does not answer a login within this time counts as down.
LOGIN_TIMEOUT_S = 1.5
REQUEST_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class TopicLevel:
    """How much is in a topic, in offsets: at least as many as records.

    Attributes:
        since: how many were written in each of `WINDOWS_S`.
        exists: whether the topic was created yet.
        records: counted up to `COUNTED`; None where they were not counted.
    """

    name: str
    offsets: int = 0
    since: tuple[int, ...] = (0,) * len(WINDOWS_S)
    exists: bool = False
    records: int | None = None

    @property
    def empty(self) -> bool:
        return not (self.offsets if self.records is None else self.records)

    @property
    def text(self) -> str:
        """How much it is, for a person."""
        counted = self.records is not None and self.records < COUNTED
        return f"{self.records:,}" if counted else f"≈ {self.offsets:,}" if self.offsets else "0"

    @property
    def last_minute(self) -> int:
        return self._counted(self.since[0])

    @property
    def last_hour(self) -> int:
        return self._counted(self.since[1])

    def _counted(self, offsets: int) -> int:
        return offsets if self.records is None or self.records >= COUNTED else min(offsets, self.records)


@dataclass(frozen=True)
class StepBacklog:
    """What waits for a step.

    Attributes:
        offsets: at least as many as records.
        records: counted up to `COUNTED`; None where they were not counted, as labels come late.
        oldest_ms: the timestamp of the oldest, in milliseconds since 1970; None if nothing waits.
        lost: how many offsets retention removed before the step has worked on them.
        rest: what the step has not worked on of each partition, empty ranges included; empty where that is not known.
        fault: the error that a run would fail with, a sentence; empty if there is none.
    """

    offsets: int = 0
    records: int | None = 0
    oldest_ms: int | None = None
    lost: int = 0
    rest: tuple[OffsetRange, ...] = ()
    fault: str = ""

    @property
    def waits(self) -> bool:
        return bool(self.offsets) if self.records is None else self.records > 0

    @property
    def text(self) -> str:
        """How much waits, for a person."""
        if self.records is None:
            return f"at most {self.offsets:,}" if self.offsets else "0"
        return f"{self.records:,}" if self.records < COUNTED else f"{COUNTED:,} or more"

    def age_s(self, now: float) -> float | None:
        return None if self.oldest_ms is None else max(now - self.oldest_ms / 1000, 0.0)


@dataclass(frozen=True)
class OpenHold:
    """A step that waits for a person to acknowledge what it has met."""

    finding: str
    leading: str
    run: str
    at_ms: int


@dataclass(frozen=True)
class Flow:
    """A pipeline at one moment.

    Attributes:
        topics: by what is in them: samples, requests, predictions, dead_letters.
        history: of promotions, approvals and rollbacks, the entries of the ledger.
        replayed: the dead letters that were replayed, see `LedgerView.replayed`.
        watched: the last figures of each version that was watched, the newest entry last.
        shadowed: how challengers agree with champions, an entry for each pair of versions and partition.
        damage: of entries of the ledger that a step would refuse.
        fault: why all this is not known, as a sentence.
    """

    topics: Mapping[str, TopicLevel] = field(default_factory=dict)
    backlogs: Mapping[BacklogStep, StepBacklog] = field(default_factory=dict)
    hold: OpenHold | None = None
    history: tuple[DatedEntry, ...] = ()
    replayed: frozenset[str] = frozenset()
    watched: tuple[DatedEntry, ...] = ()
    shadowed: tuple[DatedEntry, ...] = ()
    damage: tuple[str, ...] = ()
    fault: str = ""


def flow_topics(pipeline: Pipeline) -> dict[str, str]:
    """The topics of a flow by what is in them."""
    return {
        "samples": pipeline.samples_topic,
        "requests": pipeline.requests_topic,
        "predictions": pipeline.predictions_topic,
        "dead_letters": pipeline.dead_letters_topic,
    }


class FlowReader:
    """Reads the flows of all pipelines that share a connection: a few requests for all, more for what has changed.

    Args:
        connect: logs in.
        complete: adds the keys of a pipeline to that connection.
    """

    def __init__(
        self,
        connect: Callable[[], KafkaConnection],
        complete: Callable[[KafkaConnection, Pipeline], KafkaConnection],
    ) -> None:
        self._connect, self._complete = connect, complete
        self._ledger = LedgerView()
        self._counts: RangeCache[int] = RangeCache()
        self._ages: RangeCache[int | None] = RangeCache()

    def read(self, pipelines: Iterable[Pipeline]) -> dict[str, Flow]:
        """The flows by the pipelines' names.

        Raises:
            BrokerUnavailable, AccessDenied, ReaderStalled: see include.kafka; nothing is known then.
        """
        pipelines = list(pipelines)
        connection = replace(self._connect(), timeout_s=REQUEST_TIMEOUT_S)
        group = reader_group(connection.environment)
        ledger = ledger_name(connection.environment)
        now = time.time()
        topics = {topic for pipeline in pipelines for topic in _topics(pipeline)}
        histories = log_histories(
            connection, sorted({*topics, ledger}), [int((now - window) * 1000) for window in WINDOWS_S]
        )
        if ledger in histories:
            self._ledger.read_on(connection, group, histories[ledger])
        self._counts.begin()
        self._ages.begin()
        flows = {}
        for pipeline in pipelines:
            try:
                flows[pipeline.name] = self._flow(self._complete(connection, pipeline), group, pipeline, histories)
            except MillraceError as error:
                flows[pipeline.name] = Flow(fault=str(error))
        return flows

    def _flow(
        self, connection: KafkaConnection, group: str, pipeline: Pipeline, histories: Mapping[str, LogHistory]
    ) -> Flow:
        levels = {}
        for content, name in flow_topics(pipeline).items():
            found = histories.get(name)
            level = TopicLevel(name) if found is None else TopicLevel(name, found.offsets, found.since, exists=True)
            if found is not None and content == "dead_letters":
                level = replace(level, records=self._count(connection, group, found.ranges))
            levels[content] = level
        seen = {
            step: list(self._ledger.entries(pipeline.name, step, connection.signing))
            for step in ("train", "predict", "watch", "shadow", *HISTORY)
        }
        holds = [entry for entry in seen["predict"] if entry.key.scope == SCOPE]
        backlogs = {}
        for step in STEPS:
            names = step_topics(pipeline, step)
            if all(name in histories for name in names):
                backlogs[step] = self._backlog(connection, group, pipeline, step, seen[step], histories)
        return Flow(
            topics=levels,
            backlogs=backlogs,
            hold=next(filter(None, map(_held, holds)), None),
            history=tuple(sorted((entry for step in HISTORY for entry in seen[step]), key=lambda entry: entry.at_ms)),
            replayed=self._ledger.replayed(pipeline.name),
            watched=tuple(sorted(seen["watch"], key=lambda entry: entry.at_ms)),
            shadowed=tuple(seen["shadow"]),
            damage=tuple(entry.damage for entries in seen.values() for entry in entries if entry.damage),
        )

    def _backlog(
        self,
        connection: KafkaConnection,
        group: str,
        pipeline: Pipeline,
        step: BacklogStep,
        entries: Sequence[DatedEntry],
        histories: Mapping[str, LogHistory],
    ) -> StepBacklog:
        by_scope = {entry.key.scope: entry.fields for entry in entries if entry.fields is not None}
        rest: tuple[OffsetRange, ...] = ()
        lost = 0
        for topic in step_topics(pipeline, step):
            ranges = histories[topic].ranges
            positions = {item.partition: entry for item in ranges if (entry := by_scope.get(progress_scope(item)))}
            try:
                found = backlog_after(
                    connection, ranges, positions, accept_lost=step == "train", accept_other_records=step == "train"
                )
            except MillraceError as error:
                return StepBacklog(records=None, fault=str(error))
            rest += found.unprocessed
            lost += sum(found.lost.values())
        whole = tuple(item for item in rest if item.offsets)
        offsets = sum(item.offsets for item in whole)
        try:
            # A late label makes an old sample a new one, so that to count them means to read all.
            late = pipeline.labels_topic is not None and step == "train"
            records = None if late else self._count(connection, group, whole)
            oldest = self._oldest(connection, group, whole) if records is None or records else None
        except MillraceError as error:
            return StepBacklog(offsets, None, lost=lost, rest=rest, fault=str(error))
        return StepBacklog(offsets, records, oldest, lost, rest)

    def _count(self, connection: KafkaConnection, group: str, ranges: tuple[OffsetRange, ...]) -> int:
        return self._counts.get(ranges, lambda: count_records(connection, group, ranges, enough=COUNTED))

    def _oldest(self, connection: KafkaConnection, group: str, ranges: tuple[OffsetRange, ...]) -> int | None:
        return self._ages.get(ranges, lambda: oldest_timestamp(connection, group, ranges))


def _topics(pipeline: Pipeline) -> set[str]:
    return {*flow_topics(pipeline).values(), *(topic for step in STEPS for topic in step_topics(pipeline, step))}


def _held(entry: DatedEntry) -> OpenHold | None:
    hold = None if entry.fields is None else Hold.model_validate(entry.fields)
    if hold is None or hold.acknowledged_by:
        return None
    return OpenHold(hold.finding, hold.leading, hold.run, entry.at_ms)
