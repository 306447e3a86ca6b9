"""The backlogs of pipelines, polled on a real broker."""

from __future__ import annotations

import time

import pytest

from include import backlogs
from include.backlogs import BacklogPoller
from include.errors import PermanentError
from include.kafka.errors import BrokerUnavailable, TopicRecreated
from tests.support.administrator import delete_topic, recreate_topic
from tests.support.producers import produce
from tests.support.publishing import ask, publish, request
from tests.support.tiny_pipelines import letter, numbers, tiny_pipeline, tiny_predictor


@pytest.fixture
def poller(kafka) -> BacklogPoller:
    return BacklogPoller(lambda: kafka, lambda connection, _: connection)


def steps(*pipelines):
    return [(pipeline, step) for pipeline in pipelines for step in backlogs.STEPS]


def sample(number: int, **changed):
    plain = request(number)
    return request(number, headers=[*plain.headers, ("label", letter(numbers(number)).encode())], **changed)


def test_what_waits_is_counted_for_each_pipeline_and_step(kafka, new_pipeline, poller):
    busy, idle = new_pipeline(prediction={"min_records": 100}), new_pipeline()
    ask(kafka, busy, *map(request, range(3)))
    produce(kafka, busy.samples_topic, map(sample, range(5)))

    found = poller.poll(steps(busy, idle))

    assert {key: waiting.records for key, waiting in found.items()} == {
        (busy.name, "train"): 5,
        (busy.name, "predict"): 3,
        (idle.name, "train"): 0,
        (idle.name, "predict"): 0,
    }


def test_what_was_published_no_longer_waits(kafka, new_pipeline, poller):
    pipeline = new_pipeline()
    ranges = ask(kafka, pipeline, request(0))
    assert poller.poll(steps(pipeline))[pipeline.name, "predict"].records == 1

    publish(kafka, pipeline, ranges, tiny_predictor())

    waiting = poller.poll(steps(pipeline))[pipeline.name, "predict"]
    assert (waiting.records, waiting.positions) == (0, waiting.ends)


def test_the_age_is_that_of_the_oldest_record_of_any_partition(kafka, new_pipeline, poller):
    pipeline = new_pipeline(topics={"partitions": 2}, prediction={"min_records": 10, "max_wait_s": 60})
    now = int(time.time() * 1000)
    ask(kafka, pipeline, request(0, timestamp_ms=now - 5_000), request(1, timestamp_ms=now), partition=0)
    ask(kafka, pipeline, request(2, timestamp_ms=now - 90_000), partition=1)

    waiting = poller.poll(steps(pipeline))[pipeline.name, "predict"]

    assert waiting.oldest_ms == now - 90_000
    assert waiting.enough(time.time())


def test_nothing_is_read_again_while_nothing_changes(kafka, new_pipeline, poller, monkeypatch):
    pipeline = new_pipeline(prediction={"min_records": 10})
    ask(kafka, pipeline, request(0))
    poller.poll(steps(pipeline))
    read = []
    measure = backlogs.waiting
    monkeypatch.setattr(backlogs, "waiting", lambda *args: read.append(args[2]) or measure(*args))

    poller.poll(steps(pipeline))
    assert read == []
    ask(kafka, pipeline, request(1))
    assert poller.poll(steps(pipeline))[pipeline.name, "predict"].records == 2
    assert read == ["predict"]


def test_a_pipeline_without_its_topics_has_no_backlog(poller):
    pipeline = tiny_pipeline("has_no_topics")

    assert poller.poll(steps(pipeline)) == {}
    assert poller.poll(steps()) == {}


def test_an_error_that_a_run_would_end_with_stands_for_the_backlog_and_spares_the_others(kafka, new_pipeline, poller):
    broken, other = new_pipeline(), new_pipeline()
    publish(kafka, broken, ask(kafka, broken, request(0)), tiny_predictor())
    recreate_topic(kafka, broken.requests_topic)
    ask(kafka, other, request(0))

    found = poller.poll(steps(broken, other))

    assert isinstance(found[broken.name, "predict"], TopicRecreated)
    assert found[other.name, "predict"].records == 1


def test_a_pipeline_without_its_keys_spares_the_others_and_the_login_is_made_once(kafka, new_pipeline):
    keyless, other = new_pipeline(), new_pipeline()
    logins = []

    def complete(connection, pipeline):
        if pipeline == keyless:
            raise PermanentError("Airflow has no connection for its keys.")
        return connection

    poller = BacklogPoller(lambda: logins.append(1) or kafka, complete)
    for _ in range(2):
        found = poller.poll(steps(keyless, other))

    assert isinstance(found[keyless.name, "predict"], PermanentError)
    assert found[other.name, "predict"].records == 0
    assert logins == [1]


def test_a_topic_that_was_deleted_is_left_out_at_the_next_poll(kafka, new_pipeline, poller):
    pipeline = new_pipeline()
    ask(kafka, pipeline, request(0))
    assert (pipeline.name, "predict") in poller.poll(steps(pipeline))

    delete_topic(kafka, pipeline.requests_topic)

    assert (pipeline.name, "predict") not in poller.poll(steps(pipeline))


def test_without_a_broker_a_poll_fails_in_time(no_broker):
    with pytest.raises(BrokerUnavailable, match="answered within 1 s"):
        BacklogPoller(lambda: no_broker, lambda connection, _: connection).poll(steps(tiny_pipeline("unknown")))
