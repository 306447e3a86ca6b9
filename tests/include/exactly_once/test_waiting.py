"""When a run is due, without a broker: one for one backlog, and none for nothing."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.exactly_once.waiting import FAULT_REFIRE_S, LINGER_STALL_S, BacklogWatch, Thresholds, Waiting

REFIRE_S = 300.0
TOPIC = "t"


@dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watch(clock: Clock) -> BacklogWatch:
    return BacklogWatch(clock)


def test_people_are_told_once_until_no_record_waits_too_long(watch, clock):
    def polled(oldest_s: float | None) -> bool:
        thresholds = Thresholds(1, None, REFIRE_S, alert_s=60)
        oldest_ms = None if oldest_s is None else int(oldest_s * 1000)
        return watch.overdue(Waiting(thresholds, 1, oldest_ms, {(TOPIC, 0): 0}, {(TOPIC, 0): 1}))

    arrived = clock.now
    assert [polled(arrived), polled(None)] == [False, False]
    clock.now += 61
    assert [polled(arrived) for _ in range(3)] == [True, False, False]
    assert not polled(clock.now)
    clock.now += 61
    assert polled(arrived)


def waiting(
    position: int,
    end: int,
    *,
    enough: int = 1,
    oldest_s: float | None = None,
    limit: float | None = None,
    linger_s: float = 0,
):
    thresholds = Thresholds(enough, limit, REFIRE_S, linger_s)
    oldest_ms = None if oldest_s is None else int(oldest_s * 1000)
    return Waiting(thresholds, min(end - position, enough), oldest_ms, {(TOPIC, 0): position}, {(TOPIC, 0): end})


def test_nothing_is_due_without_a_backlog(watch):
    assert not watch.due(waiting(7, 7))


def test_a_run_is_due_when_enough_records_wait(watch):
    assert not watch.due(waiting(0, 9, enough=10))
    assert watch.due(waiting(0, 10, enough=10))


def test_a_run_is_due_when_the_oldest_record_has_waited_for_long(watch, clock):
    young = waiting(0, 1, enough=10, oldest_s=clock.now, limit=60)

    assert not watch.due(young)
    clock.now += 61
    assert watch.due(young)


def test_one_run_is_due_for_one_backlog_however_many_records_come(watch, clock):
    assert watch.due(waiting(0, 5))

    for end in range(6, 100):
        clock.now += 1
        assert not watch.due(waiting(0, end))


def test_what_came_during_a_run_makes_the_next_one_due(watch):
    assert watch.due(waiting(0, 5))
    assert not watch.due(waiting(3, 8)), "the run is at work"
    assert watch.due(waiting(5, 8))
    assert not watch.due(waiting(8, 8))


def test_a_run_that_does_nothing_is_due_again(watch, clock):
    assert watch.due(waiting(0, 5))
    clock.now += REFIRE_S - 1
    assert not watch.due(waiting(0, 5))
    clock.now += 1
    assert watch.due(waiting(0, 5))


def test_it_is_asked_for_less_and_less_often_while_nothing_moves(watch, clock):
    """A pipeline without a model would otherwise have a run every minute for nothing."""
    assert watch.due(waiting(0, 5))
    asked_at, started = [], clock.now
    for _ in range(16):
        clock.now += REFIRE_S
        if watch.due(waiting(0, 5)):
            asked_at.append((clock.now - started) / REFIRE_S)
    assert asked_at == [1, 3, 7, 15]


def test_a_run_that_goes_on_is_not_due_again(watch, clock):
    assert watch.due(waiting(0, 100))
    for position in range(1, 100):
        clock.now += REFIRE_S - 1
        assert not watch.due(waiting(position, 100)), position


def test_what_arrives_while_a_run_lingers_makes_no_other_due(watch, clock):
    assert watch.due(waiting(0, 5, linger_s=60))
    for position in range(5, 500, 5):
        clock.now += 2
        assert not watch.due(waiting(position, position + 5, linger_s=60)), position


def test_what_arrives_after_a_run_has_lingered_makes_the_next_one_due(watch, clock):
    assert watch.due(waiting(0, 5, linger_s=60))
    clock.now += 2
    assert not watch.due(waiting(5, 5, linger_s=60))
    clock.now += 60
    assert watch.due(waiting(5, 6, linger_s=60))


def test_what_stands_still_has_no_lingering_run(watch, clock):
    """It has ended after its longest time, or has failed."""
    assert watch.due(waiting(0, 5, linger_s=60))
    clock.now += 2
    assert not watch.due(waiting(5, 7, linger_s=60))
    clock.now += LINGER_STALL_S
    assert watch.due(waiting(5, 9, linger_s=60))


def test_a_new_watch_asks_again_for_what_an_earlier_one_asked_for(watch, clock):
    """A triggerer that has restarted does not know whether its last event arrived."""
    assert watch.due(waiting(0, 5))
    assert BacklogWatch(clock).due(waiting(0, 5))


def test_a_backlog_that_cannot_be_read_makes_a_run_due_now_and_then(watch, clock):
    assert watch.due_for_fault()
    assert not watch.due_for_fault()
    clock.now += FAULT_REFIRE_S
    assert watch.due_for_fault()


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=60))
def test_whatever_comes_and_whenever_runs_end_every_record_is_asked_for_and_no_run_is_asked_for_in_vain(steps):
    """A model: records come, and a run takes what waits when it begins; its event may come at any time before that."""
    watch = BacklogWatch(Clock())
    position = end = asked = 0
    for arrivals, run_ends in [*steps, (0, True), (0, True)]:
        end += arrivals
        if watch.due(waiting(position, end)):
            assert position >= asked, "asked for a second run of one backlog"
            assert end > position, "asked for a run of nothing"
            asked = end
        if run_ends and asked > position:
            position = end
    assert position == end
