"""Values that are read in the background: what is shown meanwhile, after a failure, and after a refusal."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest

from include.errors import MillraceError, PermanentError
from include.overview import kept
from include.overview.kept import MOST_AGE_S, BackgroundValue, LastValue

TIMEOUT_S = 10


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that `BackgroundValue` sees pass, in its only item."""
    now = [100.0]
    monkeypatch.setattr(kept.time, "monotonic", lambda: now[0])
    return now


def settled(item: BackgroundValue[int]) -> LastValue[int]:
    """What is known when the attempt that `get` may begin has ended."""
    item.get()
    if item._thread is not None:
        item._thread.join(TIMEOUT_S)
    return item._reading


def test_nobody_waits_for_a_value_and_an_old_one_is_shown_until_the_next_is_there(clock: list[float]) -> None:
    gate, values = threading.Event(), iter([1, 2])

    def read() -> int:
        gate.wait(TIMEOUT_S)
        return next(values)

    item = BackgroundValue("numbers", read, fresh_s=5)
    assert item.get().pending
    gate.set()
    assert settled(item).value == 1
    clock[0] += 6
    gate.clear()
    assert item.get().value == 1
    gate.set()
    assert settled(item).value == 2


def test_a_value_that_nobody_has_asked_for_lately_is_not_shown_as_if_it_were_known(
    clock: list[float],
) -> None:
    gate, values = threading.Event(), iter([1, 2])

    def read() -> int:
        gate.wait(TIMEOUT_S)
        return next(values)

    item = BackgroundValue("numbers", read, fresh_s=5)
    gate.set()
    assert settled(item).value == 1
    gate.clear()
    clock[0] += MOST_AGE_S + 1
    assert item.get().pending
    gate.set()
    assert settled(item).value == 2


def test_after_failures_the_last_value_stays_beside_the_error(clock: list[float]) -> None:
    values = iter([1])
    item = BackgroundValue("numbers", lambda: next(values), fresh_s=5)
    assert settled(item).value == 1

    for _ in range(2):
        clock[0] += MOST_AGE_S + 1
        settled(item)

    assert item.get().value == 1
    assert "could not be read" in item.get().error


def test_who_waits_gets_the_new_value_in_place_of_an_old_one_unless_it_takes_too_long(clock: list[float]) -> None:
    gate, values = threading.Event(), iter([1, 2, 3])

    def read() -> int:
        gate.wait(TIMEOUT_S)
        return next(values)

    item = BackgroundValue("numbers", read, fresh_s=5)
    gate.set()
    assert item.wait(TIMEOUT_S).value == 1
    clock[0] += 6
    assert item.wait(TIMEOUT_S).value == 2
    clock[0] += 6
    gate.clear()
    assert item.wait(0).value == 2
    gate.set()
    assert settled(item).value == 3


def test_a_fresh_value_is_not_read_again(clock: list[float]) -> None:
    reads: list[int] = []
    item = BackgroundValue("numbers", lambda: reads.append(1) or len(reads), fresh_s=5)

    assert [settled(item).value for _ in range(3)] == [1, 1, 1]


def test_one_attempt_at_a_time_is_at_work(clock: list[float]) -> None:
    gate, began = threading.Event(), []

    def read() -> int:
        began.append(1)
        gate.wait(TIMEOUT_S)
        return 1

    item = BackgroundValue("numbers", read, fresh_s=0)
    for _ in range(5):
        item.get()
    gate.set()
    settled(item)

    assert len(began) <= 2


def test_a_failure_is_shown_beside_the_last_value_and_ends_with_the_next_success(clock: list[float]) -> None:
    outcomes = iter([1, MillraceError("The broker is away."), 3])

    def read() -> int:
        if isinstance(outcome := next(outcomes), Exception):
            raise outcome
        return outcome

    item = BackgroundValue("numbers", read, fresh_s=5)
    settled(item)
    clock[0] += 6
    failed = settled(item)
    clock[0] += 6

    assert (failed.value, failed.error, failed.pending) == (1, "The broker is away.", False)
    assert (settled(item).value, item._reading.error) == (3, "")


def test_what_is_refused_is_asked_for_ever_more_rarely(clock: list[float]) -> None:
    attempts: list[float] = []

    def read() -> int:
        attempts.append(clock[0])
        raise PermanentError("The login is refused.")

    item = BackgroundValue("numbers", read, fresh_s=5)
    for _ in range(2000):
        settled(item)
        clock[0] += 1

    pauses = [int(after - before) for before, after in pairwise(attempts)]
    assert pauses[:4] == [10, 20, 40, 80]
    assert max(pauses) == kept.MAX_PAUSE_S


def test_a_fault_of_the_code_is_logged_and_shown_without_its_traceback(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    item = BackgroundValue("numbers", lambda: 1 // 0, fresh_s=5)

    error = settled(item).error

    assert "ZeroDivisionError" in error
    assert "\n" not in error
    assert "ZeroDivisionError" in caplog.text
