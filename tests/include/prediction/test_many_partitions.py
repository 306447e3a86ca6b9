"""Many partitions with few requests each are predicted with few readings of the ledger and one consumer."""

from __future__ import annotations

import sys
import time
from collections import Counter
from contextlib import contextmanager

import pytest

from include.exactly_once import snapshot
from include.exactly_once.attempt import WRITERS_AT_ONCE, Attempt
from include.kafka.connection import KafkaConnection
from include.kafka.ranges import freeze_ranges
from include.prediction import publish as publishing
from tests.support.producers import open_transaction
from tests.support.publishing import position_of, predicted_ids, publish, request
from tests.support.tiny_pipelines import sample_id

PARTITIONS = 100
WINDOWS = -(-PARTITIONS // WRITERS_AT_ONCE)


@pytest.fixture
def opened(monkeypatch):
    """Counts readings of the ledger, consumers by group, and producers."""
    counts = Counter()
    read, consumer, producer = snapshot.snapshot_ledger, KafkaConnection.consumer, KafkaConnection.producer

    def counting_read(*arguments):
        counts["ledger"] += 1
        return read(*arguments)

    @contextmanager
    def counting_consumer(connection, group, **settings):
        counts[group] += 1
        with consumer(connection, group, **settings) as opened:
            yield opened

    def counting_producer(connection, **settings):
        counts["producers"] += 1
        return producer(connection, **settings)

    monkeypatch.setattr(snapshot, "snapshot_ledger", counting_read)
    monkeypatch.setattr(KafkaConnection, "consumer", counting_consumer)
    monkeypatch.setattr(KafkaConnection, "producer", counting_producer)
    # However slow this machine is, what was read at a window's beginning counts for all of it.
    monkeypatch.setattr(publishing, "STATE_VALID_S", sys.float_info.max)
    return counts


def test_a_hundred_partitions_are_predicted_with_few_readings(kafka, new_pipeline, predictor, opened, record_property):
    pipeline = new_pipeline(topics={"partitions": PARTITIONS})
    with open_transaction(kafka, pipeline.name) as producer:
        for partition in range(PARTITIONS):
            plain = request(partition)
            producer.produce(pipeline.requests_topic, plain.value, plain.key, partition, headers=list(plain.headers))
        producer.commit_transaction(30)
    ranges = freeze_ranges(kafka, pipeline.requests_topic)

    began = time.monotonic()
    published = publish(kafka, pipeline, ranges, predictor)
    seconds = time.monotonic() - began

    record_property(f"seconds to predict {PARTITIONS} partitions of one request", round(seconds, 1))
    assert published.predictions == PARTITIONS
    assert opened["ledger"] == opened[snapshot.GROUP] == WINDOWS
    assert opened[Attempt(kafka, pipeline.name, "predict", "run-1").group()] == 1
    assert opened["producers"] == 2 * PARTITIONS - WRITERS_AT_ONCE
    assert predicted_ids(kafka, pipeline) == [sample_id(number) for number in range(PARTITIONS)]
    assert {position_of(kafka, pipeline, item) for item in ranges[::33]} == {2}
