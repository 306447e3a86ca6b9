"""Limits on dead letters: a person has to look before a whole topic becomes dead letters."""

from __future__ import annotations

from dataclasses import replace

import pytest

from include.errors import Stopped
from include.exactly_once.attempt import Attempt
from include.exactly_once.snapshot import snapshot_ledger
from include.exactly_once.transaction import TransactionalWriter
from include.prediction import publish as publishing
from include.prediction.hold import SCOPE, StepHeld
from include.prediction.limits import TooManyRejected
from include.prediction.publish import STEP
from tests.support.assertions import assert_readable
from tests.support.publishing import (
    ask,
    bad_request,
    dead_letters,
    group_offset,
    position_of,
    predicted_ids,
    predictions,
    publish,
    request,
)
from tests.support.tiny_pipelines import sample_id


def test_too_large_a_share_of_dead_letters_stops_the_step(kafka, new_pipeline, predictor):
    """The first chunk is within the limit and stays; the second one is not published at all."""
    pipeline = new_pipeline(prediction={"chunk_samples": 100, "max_rejected_share": 0.2})
    mixed = [bad_request(number) if number >= 100 and number % 2 else request(number) for number in range(200)]
    ranges = ask(kafka, pipeline, *mixed)

    with pytest.raises(TooManyRejected) as refusal:
        publish(kafka, pipeline, ranges, predictor)

    assert_readable(refusal.value, "50 of 200 records", "0.2", "wrong-size", "prediction.max_rejected_share")
    assert predicted_ids(kafka, pipeline) == [sample_id(number) for number in range(100)]
    assert dead_letters(kafka, pipeline) == []
    assert position_of(kafka, pipeline, ranges[0]) == group_offset(kafka, pipeline) == 100


def test_a_share_that_is_allowed_goes_on(kafka, new_pipeline, predictor):
    pipeline = new_pipeline(prediction={"max_rejected_share": 0.5})
    ranges = ask(kafka, pipeline, *(bad_request(number) if number % 2 else request(number) for number in range(200)))

    assert publish(kafka, pipeline, ranges, predictor).dead_letters == {"wrong-size": 100}


def test_too_many_dead_letters_in_a_row_stop_the_step(kafka, new_pipeline, predictor):
    pipeline = new_pipeline(prediction={"max_rejected_in_a_row": 5})
    ranges = ask(kafka, pipeline, *map(request, range(10)), *map(bad_request, range(10, 16)), request(16))

    with pytest.raises(TooManyRejected) as refusal:
        publish(kafka, pipeline, ranges, predictor)

    assert_readable(refusal.value, "6 records in a row", pipeline.requests_topic, "prediction.max_rejected_in_a_row")
    assert predictions(kafka, pipeline) == dead_letters(kafka, pipeline) == []
    assert position_of(kafka, pipeline, ranges[0]) is None


def test_dead_letters_in_a_row_are_counted_across_chunks(kafka, new_pipeline, predictor):
    pipeline = new_pipeline(prediction={"max_rejected_in_a_row": 5, "chunk_samples": 4})
    ranges = ask(kafka, pipeline, *map(bad_request, range(6)))

    with pytest.raises(TooManyRejected):
        publish(kafka, pipeline, ranges, predictor)

    assert len(dead_letters(kafka, pipeline)) == 4


def test_a_good_record_between_ends_the_row(kafka, new_pipeline, predictor):
    pipeline = new_pipeline(prediction={"max_rejected_in_a_row": 5})
    ranges = ask(
        kafka, pipeline, *(request(number) if number % 6 == 5 else bad_request(number) for number in range(30))
    )

    assert publish(kafka, pipeline, ranges, predictor).rejected == 25


def test_dead_letters_in_a_row_are_counted_across_attempts(kafka, new_pipeline, predictor):
    """Even if each run has only one."""
    pipeline = new_pipeline(prediction={"max_rejected_in_a_row": 5})
    for number in range(5):
        publish(kafka, pipeline, ask(kafka, pipeline, bad_request(number)), predictor, run=f"run-{number}")

    with pytest.raises(TooManyRejected):
        publish(kafka, pipeline, ask(kafka, pipeline, bad_request(5)), predictor)

    assert len(dead_letters(kafka, pipeline)) == 5


@pytest.fixture
def held(kafka, new_pipeline, predictor):
    """A pipeline that run-1 was held in: of three partitions the first is predicted, the others hold no samples."""
    pipeline = new_pipeline(topics={"partitions": 3}, prediction={"max_rejected_in_a_row": 5, "chunk_samples": 4})
    ask(kafka, pipeline, *map(request, range(10)))
    ask(kafka, pipeline, *map(bad_request, range(10, 20)), partition=1)
    ranges = ask(kafka, pipeline, *map(bad_request, range(20, 30)), partition=2)
    with pytest.raises(TooManyRejected):
        publish(kafka, pipeline, ranges, predictor)
    assert len(predictions(kafka, pipeline)) == 10
    assert len(dead_letters(kafka, pipeline)) == 4
    return pipeline, ranges


def standing(kafka, pipeline):
    """The ledger's entry of the hold."""
    (entry,) = snapshot_ledger(kafka, [Attempt(kafka, pipeline.name, STEP, "").key(SCOPE)]).values()
    return entry


@pytest.mark.parametrize(
    ("run", "partitions"),
    [("run-1", [1]), ("run-2", [0]), ("run-2", [0, 1, 2])],
    ids=["a retry", "another run's good part", "another run"],
)
def test_a_held_step_publishes_nothing_more(kafka, held, predictor, run, partitions):
    pipeline, _ = held
    ranges = ask(kafka, pipeline, request(30))

    with pytest.raises(StepHeld) as refusal:
        publish(kafka, pipeline, [ranges[number] for number in partitions], predictor, run=run)

    assert_readable(refusal.value, pipeline.name, "run-1", "[4, 8) of partition 1", "6 records in a row", "wrong-size")
    assert "Acknowledge the hold" in str(refusal.value)
    assert len(predictions(kafka, pipeline)) == 10
    assert len(dead_letters(kafka, pipeline)) == 4


def test_the_hold_names_the_limit_and_the_range(kafka, held):
    pipeline, ranges = held

    assert standing(kafka, pipeline) == {
        "finding": f"6 records in a row of {pipeline.requests_topic} are no samples and "
        "prediction.max_rejected_in_a_row is 5",
        "leading": "wrong-size",
        "reasons": {"wrong-size": 6},
        "run": "run-1",
        "range": replace(ranges[1], start=4, end=8).to_dict(),
    }


def test_an_acknowledging_run_publishes_what_stopped_the_step(kafka, held, predictor):
    pipeline, ranges = held

    published = publish(kafka, pipeline, ranges, predictor, run="run-2", acknowledge=True)

    assert (published.samples, published.rejected) == (16, 16)
    assert len(dead_letters(kafka, pipeline)) == 20
    assert standing(kafka, pipeline)["acknowledged_by"] == "run-2"


def test_after_an_acknowledged_hold_the_limits_are_on_again(kafka, held, predictor):
    pipeline, ranges = held
    publish(kafka, pipeline, ranges, predictor, run="run-2", acknowledge=True)

    few = ask(kafka, pipeline, *map(bad_request, range(31, 36)), partition=1)
    assert publish(kafka, pipeline, few, predictor, run="run-3").rejected == 5
    with pytest.raises(TooManyRejected):
        publish(kafka, pipeline, ask(kafka, pipeline, bad_request(36), partition=1), predictor, run="run-4")
    with pytest.raises(StepHeld, match="since run-4"):
        publish(kafka, pipeline, few, predictor, run="run-5")


@pytest.mark.parametrize("acknowledge", [True, False])
def test_only_the_run_that_acknowledged_is_without_limits(kafka, held, predictor, acknowledge):
    """For a later run the hold has ended, with or without acknowledging, and it meets the limit again."""
    pipeline, ranges = held
    publish(kafka, pipeline, ranges[1:2], predictor, run="run-2", acknowledge=True)

    with pytest.raises(TooManyRejected):
        publish(kafka, pipeline, ranges, predictor, run="run-3", acknowledge=acknowledge)

    assert standing(kafka, pipeline)["run"] == "run-3"


def test_all_tasks_of_an_acknowledging_run_are_without_limits(kafka, held, predictor):
    """The first task ends the hold for all of them."""
    pipeline, ranges = held

    for item in ranges:
        publish(kafka, pipeline, [item], predictor, run="run-2", acknowledge=True)

    assert len(dead_letters(kafka, pipeline)) == 20


def test_an_acknowledging_run_that_is_stopped_midway_goes_on_without_limits(kafka, held, predictor):
    pipeline, ranges = held
    stops = iter([False, False, True])  # before each chunk, and before it is committed
    with pytest.raises(Stopped):
        publish(kafka, pipeline, ranges, predictor, run="run-2", acknowledge=True, stopped=lambda: next(stops))
    assert len(dead_letters(kafka, pipeline)) == 8

    publish(kafka, pipeline, ranges, predictor, run="run-2", acknowledge=True)

    assert len(dead_letters(kafka, pipeline)) == 20


def test_a_hold_ends_with_the_first_chunk(kafka, held, predictor, monkeypatch):
    """An attempt that fails in its first transaction leaves the hold as it is, for all runs."""
    pipeline, ranges = held
    with monkeypatch.context() as dying:
        dying.setattr(TransactionalWriter, "send_offsets", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            publish(kafka, pipeline, ranges, predictor, run="run-2", acknowledge=True)

    with pytest.raises(StepHeld):
        publish(kafka, pipeline, ranges, predictor, run="run-3")
    assert publish(kafka, pipeline, ranges, predictor, run="run-2", acknowledge=True).rejected == 16


def test_a_hold_ends_though_nothing_is_left_to_publish(kafka, held, predictor):
    pipeline, ranges = held

    assert publish(kafka, pipeline, ranges[:1], predictor, run="run-2", acknowledge=True).samples == 0

    assert standing(kafka, pipeline)["acknowledged_by"] == "run-2"


def test_a_run_without_a_hold_to_acknowledge_keeps_its_limits_and_logs_it(kafka, new_pipeline, predictor, caplog):
    pipeline = new_pipeline(prediction={"max_rejected_in_a_row": 5})
    ranges = ask(kafka, pipeline, *map(bad_request, range(6)))

    with pytest.raises(TooManyRejected):
        publish(kafka, pipeline, ranges, predictor, acknowledge=True)

    assert "There is no hold to acknowledge: the limits stay on." in caplog.messages
    assert dead_letters(kafka, pipeline) == []


def test_a_run_cannot_acknowledge_its_own_hold(kafka, held, predictor):
    """A cleared run with the box ticked, or another task of a run without a hold: no person has looked yet."""
    pipeline, ranges = held

    with pytest.raises(StepHeld):
        publish(kafka, pipeline, ranges, predictor, run="run-1", acknowledge=True)


def test_of_two_holds_the_later_one_counts_and_one_acknowledgement_is_enough(kafka, held, predictor):
    pipeline, ranges = held
    entry = {**standing(kafka, pipeline), "range": replace(ranges[2], start=0, end=8).to_dict()}
    with TransactionalWriter(kafka, f"test-{pipeline.name}") as writer, writer.transaction():
        writer.write_ledger(Attempt(kafka, pipeline.name, STEP, "").key(SCOPE), entry)

    with pytest.raises(StepHeld, match=r"\[0, 8\) of partition 2"):
        publish(kafka, pipeline, ranges, predictor)
    assert publish(kafka, pipeline, ranges, predictor, run="run-2", acknowledge=True).rejected == 16


def test_another_task_s_hold_is_noticed_between_partitions(kafka, new_pipeline, predictor, monkeypatch):
    """While a partition is predicted that takes longer than what was read of the ledger is valid."""
    monkeypatch.setattr(publishing, "STATE_VALID_S", -1.0)
    pipeline = new_pipeline(topics={"partitions": 2})
    ask(kafka, pipeline, request(0))
    ranges = ask(kafka, pipeline, request(1), partition=1)
    other_task = Attempt(kafka, pipeline.name, STEP, "run-1")
    entry = {"finding": "...", "leading": "empty", "reasons": {}, "run": "run-1", "range": ranges[1].to_dict()}
    polls = []

    def hold_meanwhile() -> bool:
        if not polls:
            with other_task.writer("another task") as writer, writer.transaction():
                writer.write_ledger(other_task.key(SCOPE), entry)
        polls.append(None)
        return False

    with pytest.raises(StepHeld):
        publish(kafka, pipeline, ranges, predictor, stopped=hold_meanwhile)

    assert predicted_ids(kafka, pipeline) == [sample_id(0)]


def test_counts_are_logged_also_if_the_attempt_fails(kafka, new_pipeline, predictor, caplog):
    pipeline = new_pipeline(prediction={"max_rejected_in_a_row": 5, "chunk_samples": 4})
    requests = [request(0), bad_request(1), bad_request(2), request(3, value=None), *map(bad_request, range(4, 8))]
    ranges = ask(kafka, pipeline, *requests)

    with caplog.at_level("INFO"), pytest.raises(TooManyRejected):
        publish(kafka, pipeline, ranges, predictor)

    assert (
        "This attempt published: 4 samples in, 1 prediction, 3 dead letters (wrong-size 2, empty 1)." in caplog.messages
    )
