"""A pipeline that has published and is not in the ledger has lost it; one that has not is new."""

from __future__ import annotations

import pytest

from include.exactly_once.ledger import LEDGER_TOPIC, ledger_topic
from include.exactly_once.lost_ledger import refuse_lost_ledger, refuse_new_ledger
from include.kafka.errors import LedgerLost
from include.kafka.topics import ensure_topics
from tests.support.assertions import assert_readable
from tests.support.producers import Record, abort, commit


def test_published_records_without_an_entry_are_a_lost_ledger(kafka, new_topic):
    empty, published = new_topic(), new_topic()
    commit(kafka, published, [Record()])

    with pytest.raises(LedgerLost) as refusal:
        refuse_lost_ledger(kafka, "asked", [empty, published])

    assert_readable(refusal.value, LEDGER_TOPIC, "asked", published, "environment local")


def test_a_pipeline_that_has_published_nothing_is_new(kafka, new_topic, new_name):
    """An attempt that was killed in its first transaction leaves records that no reader ever gets."""
    killed = new_topic()
    abort(kafka, killed, [Record()])

    refuse_lost_ledger(kafka, "asked", [killed, new_name()])


def test_an_existing_ledger_is_not_refused(kafka, new_topic):
    ensure_topics(kafka, [ledger_topic()])
    published = new_topic()
    commit(kafka, published, [Record()])

    refuse_new_ledger(kafka, [published])
