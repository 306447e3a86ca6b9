"""Columns come over TLS and by a login as messages do, and what a user may not read is the same refusal."""

from __future__ import annotations

import pytest

from include.kafka.columns import Columns
from include.kafka.errors import AccessDenied
from include.kafka.ranges import freeze_ranges
from include.kafka.reader import read_columns, read_ranges
from include.kafka.rights import Right
from include.kafka.topics import TopicSpec, ensure_topics
from tests.support.assertions import assert_readable
from tests.support.producers import numbered, produce


def test_columns_are_read_by_who_may_read(administrator, users, new_name):
    topic = new_name()
    ensure_topics(administrator, [TopicSpec(topic)])
    produce(administrator, topic, numbered(1, 2, 3))
    ranges = freeze_ranges(administrator, topic)
    [stranger] = users.with_rights([[Right("Topic", topic, "Describe"), Right("Group", "test-columns", "Describe")]])

    [(_, found)] = read_columns(administrator, "test-columns", ranges)
    refusals = []
    for read in (read_columns, read_ranges):
        with pytest.raises(AccessDenied) as refusal:
            list(read(stranger, "test-columns", ranges))
        refusals.append(str(refusal.value))

    assert isinstance(found, Columns)
    assert list(found.values) == [b"1", b"2", b"3"]
    assert refusals[0] == refusals[1]
    assert_readable(refusal.value, f"denied {stranger.principal} Read on Topic {topic} while reading")
