"""When a backlog is enough for a run: by its size or the age of its oldest record, and once for one backlog."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from include.exactly_once.backlog import Backlog
from include.kafka.connection import KafkaConnection
from include.kafka.ranges import OffsetRange
from include.kafka.reader import read_range

# How often the time between two requests for one run is doubled at most.
MAX_DOUBLINGS = 6
# Seconds between two requests for a run that can only fail.
FAULT_REFIRE_S = 3600.0
# A run that lingers works on what arrives within a second; what stands still for longer has no run.
LINGER_STALL_S = 5.0

TopicAndPartition = tuple[str, int]


@dataclass(frozen=True)
class Thresholds:
    """What makes a backlog large or old enough for a run.

    Attributes:
        min_records: a run starts when this many records wait.
        max_wait_s: or when the oldest has waited for this many seconds; None for no such limit.
        refire_after_s: if a run that was asked for does nothing for this many seconds, it is asked for again, and then
            after twice as many, and so on.
        linger_s: for how many seconds a run that has done its work goes on with what arrives.
        alert_s: people are notified when the oldest has waited for longer than this; None for never.
    """

    min_records: int
    max_wait_s: float | None
    refire_after_s: float
    linger_s: float = 0.0
    alert_s: float | None = None


@dataclass(frozen=True)
class Waiting:
    """What waits for a step at one moment.

    Attributes:
        thresholds: what it was measured for.
        records: counted to one more than `thresholds.min_records`; a smaller number is all of them.
        oldest_ms: the timestamp of the oldest in milliseconds since 1970, where its age may decide; None otherwise.
        positions: the next offset that the step processes.
        ends: one past the last committed offset.
    """

    thresholds: Thresholds
    records: int
    oldest_ms: int | None
    positions: Mapping[TopicAndPartition, int]
    ends: Mapping[TopicAndPartition, int]

    def enough(self, now: float) -> bool:
        """Whether a threshold is reached at `now`, in seconds since 1970."""
        if self.records >= self.thresholds.min_records:
            return True
        age, limit = self.age_s(now), self.thresholds.max_wait_s
        return bool(self.records) and age is not None and limit is not None and age >= limit

    def age_s(self, now: float) -> float | None:
        """How long the oldest record has waited at `now`, in seconds."""
        return None if self.oldest_ms is None else max(now - self.oldest_ms / 1000, 0.0)


def measure(
    connection: KafkaConnection,
    group: str,
    backlogs: Iterable[Backlog],
    count: Callable[[int], int],
    thresholds: Thresholds,
) -> Waiting:
    """Measure the backlogs of a step's topics as far as the thresholds need it.

    Args:
        backlogs: of the topics that the step reads; the age is that of the oldest record of any of them.
        count: returns how many records wait, counted to the number that it is given.
    """
    backlogs = list(backlogs)
    unprocessed = [item for backlog in backlogs for item in backlog.unprocessed]
    # One more than enough shows whether that is all.
    records = count(thresholds.min_records + 1) if any(item.offsets for item in unprocessed) else 0
    aged = thresholds.alert_s is not None and records > 0
    aged |= thresholds.max_wait_s is not None and 0 < records < thresholds.min_records
    return Waiting(
        thresholds,
        records,
        oldest_timestamp(connection, group, unprocessed) if aged else None,
        {(item.topic, item.partition): item.start for item in unprocessed},
        {(item.topic, item.partition): item.end for item in unprocessed},
    )


def oldest_timestamp(connection: KafkaConnection, group: str, ranges: Iterable[OffsetRange]) -> int | None:
    """The smallest timestamp of the first records of some ranges, in milliseconds since 1970; None if all are empty."""
    found: list[int] = []
    with connection.consumer(group) as consumer:
        for item in ranges:
            first = next((messages[0] for messages in read_range(connection, consumer, item, batch_size=1)), None)
            if first is not None:
                found.append(first.timestamp()[1])
    return min(found, default=None)


@dataclass
class BacklogWatch:
    """Decides when a run is due: one for one backlog, however many records come.

    A run that is asked for takes all that waits by then. Until the step's positions have passed that, no other run is
    due, unless they stand still for `Thresholds.refire_after_s`: then the event was lost, or the run could do nothing.
    What arrives while a run lingers makes none due either, unless the positions stand still.
    """

    clock: Callable[[], float] = time.time
    _asked: Mapping[TopicAndPartition, int] = field(default_factory=dict)
    _positions: Mapping[TopicAndPartition, int] = field(default_factory=dict)
    _moved_at: float = float("-inf")
    _repeated: int = 0
    # For runs that linger: the positions of the last poll, when they moved, and when they last moved or nothing waited.
    _seen: Mapping[TopicAndPartition, int] | None = None
    _seen_to_move_at: float = float("-inf")
    _idle_at: float = float("-inf")
    _overdue: bool = False

    def due(self, waiting: Waiting) -> bool:
        """Whether a run is due now; it counts as asked for if so."""
        now = self.clock()
        pending = self._unprocessed(waiting)
        if self._may_linger(waiting, now):
            return False
        if (pending and self._may_work(waiting, now)) or not waiting.enough(now):
            return False
        self._repeated = self._repeated + 1 if pending else 0
        self._asked, self._positions, self._moved_at = waiting.ends, waiting.positions, now
        return True

    def due_for_fault(self) -> bool:
        """Whether a run is due although it will fail: a failed run is where people see that a backlog can't be read."""
        now = self.clock()
        if now - self._moved_at < FAULT_REFIRE_S:
            return False
        self._moved_at = now
        return True

    def overdue(self, waiting: Waiting) -> bool:
        """Whether the oldest record has waited for too long; True once, until none has any more."""
        age, limit, before = waiting.age_s(self.clock()), waiting.thresholds.alert_s, self._overdue
        self._overdue = age is not None and limit is not None and age > limit
        return self._overdue and not before

    def _may_linger(self, waiting: Waiting, now: float) -> bool:
        """Whether a run may still be there that takes these records too."""
        if self._seen is not None and self._seen != waiting.positions:
            self._seen_to_move_at = self._idle_at = now
        self._seen = waiting.positions
        if not waiting.records:
            self._idle_at = now
        return now - self._seen_to_move_at < waiting.thresholds.linger_s and now - self._idle_at < LINGER_STALL_S

    def _unprocessed(self, waiting: Waiting) -> bool:
        """Whether some of what the last run was asked for still waits."""
        return any(waiting.positions.get(place, end) < end for place, end in self._asked.items())

    def _may_work(self, waiting: Waiting, now: float) -> bool:
        """Whether that run may still be at work."""
        if waiting.positions != self._positions:
            self._positions, self._moved_at, self._repeated = waiting.positions, now, 0
        patience: float = waiting.thresholds.refire_after_s * 2 ** min(self._repeated, MAX_DOUBLINGS)
        return now - self._moved_at < patience
