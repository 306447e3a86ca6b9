"""The demonstration's counts, on the real broker: what it calls exactly once is exactly once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pytest

from include.kafka.dead_letters import ADDRESS
from include.kafka.records import Address
from include.local.audit import audit, end_offsets
from include.local.errors import StackError
from tests.support.consumers import committed_records
from tests.support.producers import Record, abort, commit
from tests.support.published_values import prediction_value
from tests.support.tiny_pipelines import IDENTITY, tiny_pipeline

if TYPE_CHECKING:
    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection
    from include.local.audit import Audit

REQUESTS = 5


@pytest.fixture
def asked(kafka: KafkaConnection, new_pipeline: Callable[..., Pipeline]) -> Pipeline:
    """A pipeline with five requests, at offsets 0 to 4 of partition 0."""
    pipeline = new_pipeline()
    commit(kafka, pipeline.requests_topic, [Record(key=f"r{number}".encode()) for number in range(REQUESTS)])
    # The broker may confirm a transaction a moment before its records can be read.
    committed_records(kafka, pipeline.requests_topic)
    return pipeline


def prediction(pipeline: Pipeline, offset: int) -> Record:
    address = Address(pipeline.requests_topic, 0, offset)
    return Record(prediction_value(f"r{offset}", {"label": "a", "score": 0.9}, IDENTITY, address, 0))


def dead_letter(pipeline: Pipeline, offset: int) -> Record:
    return Record(headers=[(ADDRESS, str(Address(pipeline.requests_topic, 0, offset)).encode())])


def look(kafka: KafkaConnection, pipeline: Pipeline) -> Audit:
    return audit(kafka.settings, pipeline, {})


def predict(kafka: KafkaConnection, pipeline: Pipeline, offsets: Sequence[int]) -> None:
    commit(kafka, pipeline.predictions_topic, [prediction(pipeline, offset) for offset in offsets])
    committed_records(kafka, pipeline.predictions_topic)


def test_one_result_each_is_exactly_once(kafka, asked):
    predict(kafka, asked, range(REQUESTS))
    found = look(kafka, asked)
    assert found.exactly_once
    assert (found.requests, found.predictions, found.dead_letters) == (REQUESTS, REQUESTS, 0)


def test_a_dead_letter_is_a_result(kafka, asked):
    predict(kafka, asked, [0, 1, 3, 4])
    commit(kafka, asked.dead_letters_topic, [dead_letter(asked, 2)])
    found = look(kafka, asked)
    assert found.exactly_once
    assert (found.predictions, found.dead_letters) == (4, 1)


def test_a_request_without_a_result_is_named(kafka, asked):
    predict(kafka, asked, [0, 1, 2, 4])
    found = look(kafka, asked)
    assert not found.exactly_once
    assert found.missing == (f"{asked.requests_topic}/0/3",)


def test_a_request_with_two_results_is_named(kafka, asked):
    predict(kafka, asked, range(REQUESTS))
    predict(kafka, asked, [3])
    found = look(kafka, asked)
    assert not found.exactly_once
    assert (found.missing, found.doubled) == ((), (f"{asked.requests_topic}/0/3",))


def test_a_prediction_and_a_dead_letter_for_one_request_are_two_results(kafka, asked):
    predict(kafka, asked, range(REQUESTS))
    commit(kafka, asked.dead_letters_topic, [dead_letter(asked, 1)])
    assert look(kafka, asked).doubled == (f"{asked.requests_topic}/0/1",)


def test_aborted_predictions_do_not_count(kafka, asked):
    abort(kafka, asked.predictions_topic, [prediction(asked, offset) for offset in range(REQUESTS)])
    found = look(kafka, asked)
    assert found.predictions == 0
    assert len(found.missing) == REQUESTS


def test_only_records_beyond_the_given_offsets_are_new(kafka, asked):
    commit(kafka, asked.samples_topic, [Record()] * 3)
    predict(kafka, asked, [0, 1])
    since = end_offsets(kafka.settings, asked)
    commit(kafka, asked.samples_topic, [Record()] * 2)
    predict(kafka, asked, [2, 3, 4])
    found = audit(kafka.settings, asked, since)
    assert (found.samples, found.new_samples) == (5, 2)
    assert (found.requests, found.new_requests) == (REQUESTS, 0)
    assert (found.predictions, found.new_predictions) == (5, 3)


def test_the_last_five_predictions_are_shown_as_they_are_in_the_topic(kafka, asked):
    predict(kafka, asked, range(REQUESTS))
    shown = look(kafka, asked).examples
    assert [item["id"] for item in shown] == ["r0", "r1", "r2", "r3", "r4"]
    assert shown[0] == {
        "id": "r0",
        "label": "a",
        "score": 0.9,
        "model": IDENTITY.name,
        "version": IDENTITY.version,
        "digest": IDENTITY.digest,
        "manifest": IDENTITY.manifest,
        "topic": asked.requests_topic,
        "partition": 0,
        "offset": 0,
        "timestamp": 0,
    }


def test_topics_that_do_not_exist_yet_are_empty(kafka, new_name):
    pipeline = tiny_pipeline(new_name())
    assert end_offsets(kafka.settings, pipeline) == {}
    found = look(kafka, pipeline)
    assert (found.samples, found.requests, found.predictions, found.dead_letters) == (0, 0, 0, 0)


def test_no_broker_is_an_error_and_not_an_empty_topic(no_broker, new_name, monkeypatch):
    monkeypatch.setattr("include.local.audit._TIMEOUT_S", 1.0)
    with pytest.raises(StackError, match="could not be read"):
        look(no_broker, tiny_pipeline(new_name()))
