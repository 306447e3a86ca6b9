"""What the reader parses of headers, and what it caches."""

from __future__ import annotations

import os
import tracemalloc

import pytest

from include.kafka.headers import UNREADABLE
from include.reading.layout import HeaderLabels, RecordLayout
from include.reading.records import RecordReader

OWN = (("schema", b"tensor.raw/1"), ("label", b"b"))


def reader(**layout):
    return RecordReader(RecordLayout.model_validate(layout), "tensor.raw/1")


def label_and_group(headers, **layout):
    return reader(**layout).parse_headers(headers)[:2]


def test_headers_have_label_and_group():
    assert label_and_group((*OWN, ("group", b"writer-3"), ("trace", None))) == ("b", b"writer-3")


def test_another_header_may_have_the_label():
    assert label_and_group((*OWN, ("class", b"a")), labels=HeaderLabels(name="class")) == ("a", None)


@pytest.mark.parametrize("headers", [OWN, (("label", b"b"), ("group", b"1"), ("group", b"2"))], ids=["own", "not ours"])
def test_only_the_label_s_header_of_a_bare_record_is_parsed(headers):
    assert label_and_group(headers, envelope={"kind": "bare"}) == ("b", None)


def test_unreadable_headers_are_no_fault_where_none_is_needed():
    labels = {"kind": "topic", "topic": "labels"}

    assert label_and_group(((UNREADABLE, b""),), envelope={"kind": "bare"}, labels=labels) == (None, None)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ((*OWN, ("label", b"a")), "duplicate-header"),
        ((*OWN, ("group", b"g" * 1025)), "header-too-long"),
        (((UNREADABLE, b""),), "unreadable-headers"),
    ],
    ids=["twice", "too long", "unreadable"],
)
def test_ambiguous_or_unreadable_headers_give_no_label_and_no_group(headers, reason):
    refusal, group = label_and_group(headers)

    assert (refusal.reason, group) == (reason, None)


@pytest.mark.parametrize(
    "foreign",
    [lambda: [("trace", os.urandom(1_000_000))], lambda: [(os.urandom(4).hex(), b"")] * 20_000],
    ids=["a megabyte in one", "a megabyte in many"],
)
def test_large_headers_are_read_and_not_kept(foreign):
    heads = reader()
    tracemalloc.start()
    try:
        for _ in range(20):
            assert heads.parse_headers((*OWN, *foreign())).label == "b"
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept < 1_000_000
