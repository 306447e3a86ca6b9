"""A ledger of the test's own."""

from __future__ import annotations

import pytest

from include.exactly_once import ledger
from include.kafka.topics import ensure_topics


@pytest.fixture
def own_ledger(kafka, new_name, monkeypatch):
    """A ledger topic of the test's own."""
    monkeypatch.setattr(ledger, "LEDGER_TOPIC", new_name())
    spec = ledger.ledger_topic(environment=kafka.environment)
    ensure_topics(kafka, [spec])
    return spec.name
