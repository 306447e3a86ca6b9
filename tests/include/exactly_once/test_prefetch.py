"""What is prefetched, and when the source is closed."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest

from include.exactly_once.prefetch import prefetch


def test_the_next_item_is_produced_while_the_present_one_is_used():
    produced = threading.Event()

    def numbers():
        yield 1
        produced.set()
        yield 2

    with closing(prefetch(numbers())) as items:
        assert next(items) == 1
        assert produced.wait(10), "the second item is not asked for"
        assert list(items) == [2]


def test_an_error_comes_in_place_of_the_item_that_it_prevented():
    def numbers():
        yield 1
        raise ZeroDivisionError

    items = prefetch(numbers())

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

    with closing(prefetch(numbers())) as items:
        next(items)
        going_on.set()

    assert events == ["produced", "closed"]
