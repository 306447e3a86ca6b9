"""The flow of pipelines, read from a real broker and ledger."""

from __future__ import annotations

import time

import pytest

from include.exactly_once.ledger import LedgerKey
from include.exactly_once.transaction import TransactionalWriter
from include.kafka.connection import KafkaConnection
from include.kafka.errors import BrokerUnavailable
from include.kafka.login import log_in
from include.overview import flow as module
from include.overview.flow import COUNTED, FlowReader
from include.prediction.limits import TooManyRejected
from tests.support.administrator import recreate_topic
from tests.support.producers import open_transaction, produce
from tests.support.publishing import ask, bad_request, publish, request
from tests.support.tiny_pipelines import letter, numbers, tiny_pipeline, tiny_predictor


@pytest.fixture
def reader(kafka: KafkaConnection) -> FlowReader:
    return FlowReader(lambda: kafka, lambda connection, _: connection)


def sample(number: int, **changed):
    plain = request(number)
    return request(number, headers=[*plain.headers, ("label", letter(numbers(number)).encode())], **changed)


def test_what_waits_its_age_and_what_a_topic_has_are_seen_for_each_pipeline(kafka, new_pipeline, reader):
    busy, idle = new_pipeline(topics={"partitions": 2}), new_pipeline()
    now = int(time.time() * 1000)
    ask(kafka, busy, request(0, timestamp_ms=now), partition=0)
    ask(kafka, busy, request(1, timestamp_ms=now - 90_000), request(2, timestamp_ms=now), partition=1)
    produce(kafka, busy.samples_topic, map(sample, range(5)))

    flows = reader.read([busy, idle])

    waiting = flows[busy.name].backlogs["predict"]
    assert (waiting.records, waiting.oldest_ms, waiting.fault) == (3, now - 90_000, "")
    assert flows[busy.name].backlogs["train"].records == 5
    level = flows[busy.name].topics["requests"]
    assert (level.offsets, level.last_minute, level.last_hour) == (3, 2, 3)
    assert not flows[idle.name].backlogs["predict"].waits
    assert flows[idle.name].topics["requests"].exists


def test_a_pipeline_without_topics_is_shown_as_such(kafka, new_name, reader):
    pipeline = tiny_pipeline(new_name())

    flow = reader.read([pipeline])[pipeline.name]

    assert flow.backlogs == {}
    assert not any(level.exists for level in flow.topics.values())


def test_published_requests_wait_no_longer_and_their_outcome_is_seen(kafka, new_pipeline, reader):
    pipeline = new_pipeline()
    ranges = ask(kafka, pipeline, request(0), bad_request(1), request(2))
    assert reader.read([pipeline])[pipeline.name].backlogs["predict"].records == 3

    publish(kafka, pipeline, ranges, tiny_predictor())

    flow = reader.read([pipeline])[pipeline.name]
    assert flow.backlogs["predict"].records == 0
    assert flow.topics["predictions"].offsets >= 2
    assert (flow.topics["dead_letters"].records, flow.topics["dead_letters"].text) == (1, "1")


def test_a_hold_is_seen_until_a_run_acknowledges_it(kafka, new_pipeline, reader):
    pipeline = new_pipeline(prediction={"max_rejected_in_a_row": 2})
    ranges = ask(kafka, pipeline, *map(bad_request, range(4)))
    with pytest.raises(TooManyRejected):
        publish(kafka, pipeline, ranges, tiny_predictor())

    hold = reader.read([pipeline])[pipeline.name].hold
    assert hold is not None
    assert (hold.leading, hold.run) == ("wrong-size", "run-1")

    publish(kafka, pipeline, ranges, tiny_predictor(), run="run-2", acknowledge=True)
    assert reader.read([pipeline])[pipeline.name].hold is None


def test_a_recreated_topic_is_a_fault_of_its_pipeline_alone(kafka, new_pipeline, reader):
    broken, fine = new_pipeline(), new_pipeline()
    for pipeline in (broken, fine):
        publish(kafka, pipeline, ask(kafka, pipeline, request(0)), tiny_predictor())
    recreate_topic(kafka, broken.requests_topic)

    flows = reader.read([broken, fine])

    assert "recreated" in flows[broken.name].backlogs["predict"].fault
    assert flows[fine.name].backlogs["predict"].fault == ""


def test_a_damaged_entry_is_named_and_the_rest_is_shown(kafka, new_pipeline, reader):
    pipeline = new_pipeline()
    key = LedgerKey(kafka.environment, pipeline.name, "model", "1")
    with TransactionalWriter(kafka, f"{pipeline.name}.test") as writer, writer.transaction():
        writer.write_ledger(key, {"digest": "<script>", "manifest": "m", "promoted": True})

    flow = reader.read([pipeline])[pipeline.name]

    assert len(flow.damage) == 1
    assert "digest" in flow.damage[0]
    assert flow.backlogs["predict"].fault == ""


def test_a_large_backlog_is_counted_to_a_limit_and_has_an_age(kafka, new_pipeline, reader, monkeypatch):
    monkeypatch.setattr(module, "COUNTED", 5)
    pipeline = new_pipeline()
    now = int(time.time() * 1000)
    ask(kafka, pipeline, *(request(number, timestamp_ms=now - 60_000) for number in range(8)))

    waiting = reader.read([pipeline])[pipeline.name].backlogs["predict"]

    assert (waiting.text, waiting.oldest_ms) == ("5 or more", now - 60_000)
    assert COUNTED >= 1000


def test_records_are_read_once_while_nothing_changes(kafka, new_pipeline, reader, monkeypatch):
    pipeline = new_pipeline()
    ask(kafka, pipeline, request(0))
    reader.read([pipeline])
    read: list[object] = []
    monkeypatch.setattr(module, "count_records", lambda *_, **__: read.append(1) or 0)

    assert reader.read([pipeline])[pipeline.name].backlogs["predict"].records == 1
    assert read == []


def test_an_open_transaction_of_another_step_does_not_stop_the_reading(kafka, new_pipeline, reader):
    pipeline = new_pipeline()
    ask(kafka, pipeline, request(0))
    with open_transaction(kafka, f"{pipeline.name}.open") as producer:
        producer.produce("millrace.ledger", b"x", b"other/x/y/z", partition=0)
        producer.flush(10)
        began = time.monotonic()

        flow = reader.read([pipeline])[pipeline.name]

        assert time.monotonic() - began < 10
        assert flow.backlogs["predict"].records == 1


def test_a_broker_that_is_down_is_an_error_of_all(no_broker):
    def connect() -> KafkaConnection:
        log_in(no_broker)
        return no_broker

    with pytest.raises(BrokerUnavailable):
        FlowReader(connect, lambda connection, _: connection).read([])
