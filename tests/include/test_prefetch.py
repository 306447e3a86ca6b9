"""What is prefetched, and when the source is closed."""

from __future__ import annotations

import threading

import pytest

from include.prefetch import prefetch


def test_the_next_item_is_produced_while_the_present_one_is_used():
    produced = threading.Event()

    def numbers():
        yield 1
        produced.set()
        yield 2

    with prefetch(numbers()) as items:
        assert next(items) == 1
        assert produced.wait(10), "the second item is not asked for"
        assert list(items) == [2]


@pytest.mark.parametrize("ahead", [1, 4])
def test_an_error_comes_in_place_of_the_item_that_it_prevented(ahead):
    def numbers():
        yield 1
        raise ZeroDivisionError

    with prefetch(numbers(), ahead) as items:
        assert next(items) == 1
        with pytest.raises(ZeroDivisionError):
            next(items)


def test_leaving_early_closes_the_source_after_the_item_in_production():
    going_on, events = threading.Event(), []

    def numbers():
        try:
            yield 1
            going_on.wait(10)
            events.append("produced")
            yield 2
        finally:
            events.append("closed")

    with prefetch(numbers()) as items:
        next(items)
        going_on.set()

    assert events == ["produced", "closed"]


def test_no_more_is_produced_than_was_asked_for_ahead():
    produced, fourth = [], threading.Event()

    def numbers():
        for number in range(10):
            produced.append(number)
            if number == 3:
                fourth.set()
            yield number

    with prefetch(numbers(), 3) as items:
        assert next(items) == 0
        assert fourth.wait(10), "three items are not produced ahead"

    assert produced == [0, 1, 2, 3]
