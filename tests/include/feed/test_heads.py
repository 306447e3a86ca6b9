"""What the feed keeps of records' headers, whatever they are."""

from __future__ import annotations

import os
import tracemalloc

import pytest

from include.feed.feed import _Heads
from include.feed.manifest import Manifest, Split
from include.kafka.record import UNREADABLE

OWN = (("schema", b"tensor.raw/1"), ("label", b"b"))
MANIFEST = Manifest("shoes", (), "tensor.raw/1", ("a", "b"), Split("salt", 0.2), seed=1)


def test_a_head_has_the_label_s_index_and_the_group():
    head = _Heads(MANIFEST)[*OWN, ("group", b"writer-3"), ("trace", None)]

    assert (head.label, head.group, head.refusal) == (1, b"writer-3", ("", ""))


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ((*OWN, ("label", b"a")), "duplicate-header"),
        ((*OWN, ("group", b"g" * 1025)), "header-too-long"),
        (((UNREADABLE, b""),), "unreadable-headers"),
    ],
    ids=["twice", "too long", "unreadable"],
)
def test_headers_that_can_t_be_relied_on_give_no_label_and_no_group(headers, reason):
    head = _Heads(MANIFEST)[headers]

    assert (head.label, head.group, head.refusal[0]) == (-1, None, reason)


@pytest.mark.parametrize(
    ("sets", "foreign"),
    [(200, lambda: [("trace", os.urandom(1_000_000))]), (200, lambda: [(os.urandom(4).hex(), b"")] * 20_000)],
    ids=["a megabyte in one", "a megabyte in many"],
)
def test_large_headers_are_read_and_not_kept(sets, foreign):
    heads = _Heads(MANIFEST)
    tracemalloc.start()
    try:
        for _ in range(sets):
            assert heads[*OWN, *foreign()].label == 1
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept < 1_000_000
