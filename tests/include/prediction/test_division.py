"""Each request is predicted once, however the partitions are divided among tasks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from include.exactly_once import snapshot
from include.exactly_once.ledger import LedgerKey
from include.kafka.errors import Fenced
from include.kafka.ranges import OffsetRange
from include.kafka.topics import ensure_topics
from include.prediction.backlog import divide, number_of_tasks
from include.prediction.publish import STEP
from tests.support.assertions import assert_readable
from tests.support.attempts import kill_at, predict_job
from tests.support.publishing import (
    ask,
    bad_request,
    dead_letters,
    position_of,
    predicted_ids,
    predictions,
    publish,
    request,
)
from tests.support.tiny_pipelines import sample_id, tiny_pipeline

PARTITIONS = 4
REQUESTS = 25


def backlog(*offsets: int) -> list[OffsetRange]:
    return [OffsetRange("t", "id", number, 0, count) for number, count in enumerate(offsets)]


def divided(ranges: list[OffsetRange], tasks: int) -> list[list[int]]:
    return [[item.partition for item in found] for found in divide(ranges, tasks)]


@pytest.mark.parametrize("tasks", range(1, 7))
def test_each_partition_is_in_one_set(tasks):
    found = divided(backlog(5, 0, 7, 7, 3), tasks)

    assert sorted(number for numbers in found for number in numbers) == list(range(5))
    assert len(found) == min(tasks, 5)
    assert all(found)


def test_sets_have_about_as_much_to_do():
    assert divided(backlog(9, 100, 40, 30, 30), 2) == [[1, 0], [2, 3, 4]]


def test_partitions_without_requests_are_spread_over_tasks_that_linger():
    assert divided(backlog(0, 0, 1, 0), 2) == [[2], [0, 1, 3]]
    assert divided(backlog(0, 0, 0, 0), 2) == [[0, 2], [1, 3]]


@pytest.mark.parametrize(
    ("offsets", "settings", "tasks"),
    [
        (99, {}, 1),
        (299, {}, 2),
        (5000, {}, 4),
        (1, {"linger_s": 60}, 4),
        (5000, {"tasks": 1}, 1),
    ],
)
def test_a_run_has_as_many_tasks_as_its_requests_deserve(offsets, settings, tasks):
    pipeline = tiny_pipeline("tiny", prediction={"tasks": 4, "min_requests_per_task": 100, **settings})

    assert number_of_tasks(pipeline, backlog(0, offsets)) == tasks


@pytest.fixture
def pipeline(new_pipeline):
    return new_pipeline(topics={"partitions": PARTITIONS}, prediction={"chunk_samples": 10})


@pytest.fixture
def ranges(kafka, pipeline):
    """The requests of all partitions; the third of each is no sample."""
    for partition in range(PARTITIONS):
        numbers = range(partition * REQUESTS, (partition + 1) * REQUESTS)
        requests = [bad_request(number) if number % REQUESTS == 2 else request(number) for number in numbers]
        ranges = ask(kafka, pipeline, *requests, partition=partition)
    return ranges


def assert_each_has_one_result(kafka, pipeline, ranges):
    numbers = range(PARTITIONS * REQUESTS)
    assert predicted_ids(kafka, pipeline) == [sample_id(number) for number in numbers if number % REQUESTS != 2]
    letters = sorted(letter.key().decode() for letter in dead_letters(kafka, pipeline))
    assert letters == [sample_id(number) for number in numbers if number % REQUESTS == 2]
    assert [position_of(kafka, pipeline, item) for item in ranges] == [item.end for item in ranges]


def test_attempts_that_divide_differently_resume_where_killed_ones_ended(kafka, pipeline, ranges, predictor):
    """Each partition has three transactions, and each attempt takes over one that was killed between them."""
    kill_at("before commit", 2, predict_job(kafka, pipeline, [ranges[0], ranges[2]]))
    kill_at("after commit", 4, predict_job(kafka, pipeline, [ranges[0], ranges[1], ranges[3]]))
    kill_at("before begin", 3, predict_job(kafka, pipeline, [ranges[1], ranges[2]]))

    for found in divide(ranges, 2):
        publish(kafka, pipeline, found, predictor)

    assert_each_has_one_result(kafka, pipeline, ranges)


def test_concurrent_attempts_fence_each_other_and_publish_nothing_twice(kafka, pipeline, ranges, predictor):
    """One task for all partitions, two for half of them each, and one for every partition."""
    tasks = [found for number in (1, 2, PARTITIONS) for found in divide(ranges, number)]
    with ThreadPoolExecutor(len(tasks)) as threads:
        attempts = [threads.submit(publish, kafka, pipeline, task, predictor) for task in tasks]
    failures = [failure for attempt in attempts if (failure := attempt.exception()) is not None]
    assert all(isinstance(failure, Fenced) for failure in failures), failures

    publish(kafka, pipeline, ranges, predictor)

    assert_each_has_one_result(kafka, pipeline, ranges)


def test_the_earlier_of_two_attempts_at_one_partition_is_fenced(kafka, pipeline, ranges, predictor):
    calls = []

    def overtaken() -> bool:
        calls.append(None)
        if len(calls) == 2:
            publish(kafka, pipeline, divide(ranges, 2)[0], predictor, run="run-2")
        return False

    with pytest.raises(Fenced) as refusal:
        publish(kafka, pipeline, ranges, predictor, stopped=overtaken)

    assert_readable(refusal.value, f"local.{pipeline.name}.predict.{pipeline.requests_topic}.0", "Another run")
    assert len(predictions(kafka, pipeline)) == 2 * (REQUESTS - 1)


def test_a_transaction_left_open_in_one_partition_does_not_delay_another(kafka, new_name, predictor, monkeypatch):
    """The hold, which is read too, is in the same partition of the ledger as the second partition's position."""
    monkeypatch.setattr(snapshot, "snapshot_ledger", partial(snapshot.snapshot_ledger, settle_timeout_s=5))
    while True:
        pipeline = tiny_pipeline(new_name(), topics={"partitions": 2})
        scopes = (f"{pipeline.requests_topic}/1", "hold")
        if len({LedgerKey("local", pipeline.name, STEP, scope).partition for scope in scopes}) == 1:
            break
    ensure_topics(kafka, pipeline.topic_specs())
    for partition in range(2):
        ranges = ask(kafka, pipeline, request(partition), partition=partition)
    kill_at("before commit", 2, predict_job(kafka, pipeline, ranges))

    assert publish(kafka, pipeline, ranges, predictor).samples == 1

    assert predicted_ids(kafka, pipeline) == [sample_id(0), sample_id(1)]
