"""An attempt spells the ids under which it writes, and its writers fence every earlier owner of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from include.errors import Stopped
from include.exactly_once.attempt import WRITERS_AT_ONCE, Attempt, windows
from include.exactly_once.ledger import LedgerKey, ledger_topic
from include.kafka.connection import KafkaConnection
from include.kafka.errors import BrokerUnavailable, Fenced
from include.kafka.records import OutgoingRecord
from include.kafka.topics import ensure_topics
from tests.support.assertions import assert_readable
from tests.support.consumers import committed_records


@pytest.fixture
def attempt(kafka, new_name):
    ensure_topics(kafka, [ledger_topic()])
    return Attempt(kafka, new_name(), "predict", "run-1")


@pytest.mark.parametrize(
    ("scope", "expected"),
    [((), "test.shoes.predict"), (("shoes.requests", 3), "test.shoes.predict.shoes.requests.3")],
)
def test_an_id_is_the_environment_the_pipeline_the_step_and_the_scope(scope, expected):
    connection = KafkaConnection({}, environment="test")

    assert Attempt(connection, "shoes", "predict", "run-1").transactional_id(*scope) == expected


def test_a_ledger_key_has_the_same_parts():
    connection = KafkaConnection({}, environment="test")

    assert Attempt(connection, "shoes", "ingest", "run-1").key("batch 1") == LedgerKey(
        "test", "shoes", "ingest", "batch 1"
    )


@pytest.mark.parametrize(("pipeline", "step"), [("shoes", "replay"), ("hats", "predict")])
def test_an_attempt_at_another_step_or_pipeline_is_refused(pipeline, step):
    """Its ledger keys have no entries, so that everything would be published again."""
    attempt = Attempt(KafkaConnection({}), "shoes", "predict", "run-1")

    with pytest.raises(ValueError, match=f"predict of pipeline shoes, and step {step} of {pipeline} was called"):
        attempt.require(pipeline, step)


def test_a_stop_says_what_was_done():
    attempt = Attempt(KafkaConnection({}), "shoes", "predict", "run-1", stopped=lambda: True)

    with pytest.raises(Stopped) as stop:
        attempt.check_stop("20 samples")

    assert_readable(stop.value, "Stopped after 20 samples", "next attempt")


def test_the_writers_of_several_scopes_fence_each_its_earlier_owner(attempt, new_topic):
    topic = new_topic()
    scopes = [(topic, number) for number in range(3)]

    def write(writer):
        with writer.transaction():
            writer.produce(OutgoingRecord(topic, None, writer.transactional_id.encode()))

    with attempt.writers(scopes) as zombies, attempt.writers(scopes[:2], topics=[topic]) as owners:
        for zombie in zombies[:2]:
            with pytest.raises(Fenced):
                write(zombie)
        for writer in [*owners, zombies[2]]:
            write(writer)

    written = sorted(record.value().decode() for record in committed_records(attempt.connection, topic))
    assert written == [attempt.transactional_id(topic, number) for number in range(3)]


def test_fencing_reaches_more_scopes_than_writers_are_open_at_once(attempt, new_topic):
    topic = new_topic()
    last = (topic, WRITERS_AT_ONCE)

    with attempt.writer(*last) as zombie:
        attempt.fence([(topic, number) for number in range(WRITERS_AT_ONCE + 1)])

        with pytest.raises(Fenced), zombie.transaction():
            zombie.produce(OutgoingRecord(topic, None, b"value"))


def test_a_ledger_entry_is_read_by_the_next_owner(attempt):
    key = attempt.key("scope")
    entry = {"topic_id": "id", "position": 1, "run": "run"}

    with attempt.writer("scope") as writer:
        assert writer.read_ledger([key]) == {}
        with writer.transaction():
            writer.write_ledger(key, entry)
    with attempt.writer("scope") as writer:
        assert writer.read_ledger([key]) == {key: entry}


def test_writers_that_reach_no_broker_are_refused(no_broker):
    attempt = Attempt(no_broker, "shoes", "predict", "run-1")

    with ThreadPoolExecutor(1) as thread:
        refusal = thread.submit(attempt.fence, [("topic", number) for number in range(100)]).exception(30)

    assert isinstance(refusal, BrokerUnavailable)
    assert_readable(refusal, no_broker.bootstrap_servers)


def test_windows_have_every_item_once_in_order():
    items = list(range(2 * WRITERS_AT_ONCE + 1))

    found = list(windows(items))

    assert [item for window in found for item in window] == items
    assert max(map(len, found)) == WRITERS_AT_ONCE
