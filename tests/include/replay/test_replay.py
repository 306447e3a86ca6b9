"""Each dead letter goes back to the requests at most once, as the record that it was, through kills and retries."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from benchmarks.measure import peak_memory
from include.errors import Stopped
from include.exactly_once import ledger
from include.exactly_once.attempt import Attempt
from include.exactly_once.ledger import LedgerKey
from include.exactly_once.snapshot import snapshot_ledger
from include.exactly_once.transaction import TransactionalWriter
from include.kafka.errors import BrokerUnavailable
from include.kafka.ranges import freeze_ranges
from include.kafka.topics import describe_topic
from include.metrics import Metrics
from include.prediction.publish import publish_predictions
from include.replay import replay as replays
from include.replay.replay import STEP, replay_dead_letters
from include.replay.selection import Selection
from tests.support.administrator import recreate_topic
from tests.support.assertions import assert_readable
from tests.support.attempts import kill_at, replay_job
from tests.support.consumers import committed_records, log_ends
from tests.support.producers import NOW_MS, Record, abort, produce
from tests.support.recorded_metrics import RecordedMetrics
from tests.support.tiny_pipelines import SCHEMA, numbers, sample_id, tiny_predictor
from tests.support.unreadable_headers import produce_unreadable_header


def letter(number, reason="wrong-size", *, headers=(), **changed):
    """A dead letter as it is in the topic."""
    explaining = {
        "dead-letter-reason": reason,
        "dead-letter-error": "It is no sample.",
        "dead-letter-address": f"somewhere/0/{number}",
        "dead-letter-run": "tiny.predict/run-1",
    }
    plain = Record(
        key=sample_id(number).encode(),
        value=numbers(number).tobytes(),
        headers=[("schema", SCHEMA), *headers, *((name, text.encode()) for name, text in explaining.items())],
        timestamp_ms=NOW_MS + number,
    )
    return replace(plain, **changed)


def bury(kafka, pipeline, *letters, partition=0):
    produce(kafka, pipeline.dead_letters_topic, letters, partition=partition)


def replay(kafka, pipeline, *, run="run-1", stopped=lambda: False, metrics=None, **selection):
    attempt = Attempt(kafka, pipeline.name, STEP, run, stopped=stopped, metrics=metrics or Metrics())
    return replay_dead_letters(attempt, pipeline, Selection(**selection))


def requests(kafka, pipeline):
    return committed_records(kafka, pipeline.requests_topic)


def replayed_ids(kafka, pipeline):
    return sorted(record.key().decode() for record in requests(kafka, pipeline))


def ids(*positions):
    return [sample_id(number) for number in positions]


def ledger_key(kafka, pipeline, offset):
    topic = pipeline.dead_letters_topic
    scope = f"{describe_topic(kafka, topic).topic_id}/{topic}/0/{offset}"
    return LedgerKey(kafka.environment, pipeline.name, STEP, scope)


def predict(kafka, pipeline, network=None):
    predictor = tiny_predictor()
    ranges = freeze_ranges(kafka, pipeline.requests_topic)
    predictor = predictor if network is None else replace(predictor, network=network)
    return publish_predictions(Attempt(kafka, pipeline.name, "predict", "predict-1"), pipeline, ranges, predictor)


@pytest.fixture
def chunks_of_ten(monkeypatch):
    monkeypatch.setattr(replays, "CHUNK_RECORDS", 10)


@pytest.fixture(scope="module")
def broken():
    """A network whose outputs are NaN."""
    import torch

    class Broken(torch.nn.Module):
        def forward(self, inputs):
            return torch.full((len(inputs), 3), torch.nan)

    return Broken()


def test_a_dead_letter_goes_back_as_the_record_it_was(kafka, new_pipeline):
    pipeline = new_pipeline()
    headers = [("schema", b"other/1"), ("trace", b"\xff\x00"), ("trace", None), ("group", b"voice-1")]
    value = os.urandom(5000)
    produce(kafka, pipeline.requests_topic, [Record(value, b"\xff key", headers, timestamp_ms=NOW_MS - 5000)])
    assert predict(kafka, pipeline).dead_letters == {"wrong-schema": 1}

    done = replay(kafka, pipeline)

    assert (done.selected, done.replayed, done.replayed_now) == (1, 1, 1)
    _, again = requests(kafka, pipeline)
    assert (again.key(), again.value()) == (b"\xff key", value)
    assert again.headers() == [*headers, ("replays", b"1")]
    assert NOW_MS <= again.timestamp()[1] <= time.time() * 1000


@pytest.mark.parametrize(("key", "value"), [(None, b"value"), (b"key", None), (b"", b"")], ids=str)
def test_an_absent_key_or_value_stays_absent(kafka, new_pipeline, key, value):
    """A request without a value died as empty, not as oversize, and is whole."""
    pipeline = new_pipeline()
    bury(kafka, pipeline, letter(0, "empty", key=key, value=value))

    assert replay(kafka, pipeline).replayed == 1
    (again,) = requests(kafka, pipeline)
    assert (again.key(), again.value()) == (key, value)


def test_dead_letters_of_a_broken_model_are_predicted_by_the_next_one(kafka, new_pipeline, broken):
    pipeline = new_pipeline(topics={"partitions": 3})
    for partition in range(3):
        asked = [
            Record(numbers(number).tobytes(), sample_id(number).encode(), [("schema", SCHEMA)])
            for number in range(partition * 20, partition * 20 + 20)
        ]
        produce(kafka, pipeline.requests_topic, asked, partition=partition)
    assert predict(kafka, pipeline, broken).dead_letters == {"not-finite": 60}

    assert replay(kafka, pipeline).replayed == 60

    assert predict(kafka, pipeline).predictions == 60
    answers = [json.loads(record.value()) for record in committed_records(kafka, pipeline.predictions_topic)]
    assert sorted(answer["id"] for answer in answers) == ids(*range(60))


def test_dead_letters_are_selected_by_reason(kafka, new_pipeline):
    pipeline = new_pipeline()
    bury(kafka, pipeline, letter(0, "empty"), letter(1, "wrong-size"), letter(2, "not-finite"), letter(3, "empty"))

    assert replay(kafka, pipeline, reasons=["empty", "not-finite"]).selected == 3
    assert replayed_ids(kafka, pipeline) == ids(0, 2, 3)


def test_dead_letters_are_selected_by_time(kafka, new_pipeline):
    pipeline = new_pipeline()
    bury(kafka, pipeline, *map(letter, range(10)))
    since, until = (datetime.fromtimestamp((NOW_MS + number) / 1000, UTC) for number in (3, 6))

    assert replay(kafka, pipeline, since=since, until=until).selected == 3
    assert replayed_ids(kafka, pipeline) == ids(3, 4, 5)


def test_a_number_ends_the_run_and_the_next_run_resumes_after_it(kafka, new_pipeline):
    pipeline = new_pipeline()
    bury(kafka, pipeline, *map(letter, range(10)))

    first = replay(kafka, pipeline, number=4, run="run-1")
    assert replayed_ids(kafka, pipeline) == ids(*range(4))
    second = replay(kafka, pipeline, number=4, run="run-2")
    assert replayed_ids(kafka, pipeline) == ids(*range(8))

    assert (first.selected, first.replayed) == (4, 4)
    assert (second.selected, second.replayed, second.already_replayed) == (8, 4, 4)


def test_the_number_counts_only_replayed_dead_letters(kafka, new_pipeline):
    pipeline = new_pipeline()
    bury(kafka, pipeline, letter(0, headers=[("replays", b"3")]), *map(letter, range(1, 5)))

    done = replay(kafka, pipeline, number=2)

    assert (done.selected, done.replayed, done.stay_dead) == (3, 2, {"exhausted": 1})
    assert replayed_ids(kafka, pipeline) == ids(1, 2)


def test_another_run_replays_nothing_again(kafka, new_pipeline):
    pipeline = new_pipeline(topics={"partitions": 2})
    bury(kafka, pipeline, *map(letter, range(5)), partition=0)
    bury(kafka, pipeline, *map(letter, range(5, 10)), partition=1)
    replay(kafka, pipeline, run="run-1")

    again = replay(kafka, pipeline, run="run-2")

    assert (again.selected, again.replayed, again.already_replayed) == (10, 0, 10)
    assert replayed_ids(kafka, pipeline) == ids(*range(10))


def test_the_same_run_again_reports_what_it_has_done(kafka, new_pipeline):
    """Airflow may lose the task's success, and the asset's event with it."""
    pipeline = new_pipeline()
    bury(kafka, pipeline, *map(letter, range(5)))
    replay(kafka, pipeline, number=3)

    again = replay(kafka, pipeline, number=3)

    assert (again.selected, again.replayed, again.replayed_now) == (3, 3, 0)
    assert replayed_ids(kafka, pipeline) == ids(*range(3))


@pytest.mark.parametrize(("point", "committed"), [("before begin", 10), ("before commit", 10), ("after commit", 20)])
def test_a_replay_survives_a_kill(kafka, new_pipeline, chunks_of_ten, point, committed):
    """Killed in the second of three transactions, when 25 of 40 dead letters were requested."""
    pipeline = new_pipeline()
    bury(kafka, pipeline, *map(letter, range(40)))
    kill_at(point, 2, replay_job(kafka, pipeline, number=25, run="run-1", chunk=10))
    lying = log_ends(kafka, pipeline.requests_topic, [0])[0]
    assert lying >= (10 if point == "before begin" else 20), "the killed attempt's records lie in the log"

    done = replay(kafka, pipeline, number=25, run="run-1")

    assert (done.replayed, done.replayed_now) == (25, 25 - committed)
    assert replayed_ids(kafka, pipeline) == ids(*range(25))
    assert replay(kafka, pipeline, run="run-2").replayed == 15
    assert replayed_ids(kafka, pipeline) == ids(*range(40))


def test_a_stop_leaves_whole_chunks(kafka, new_pipeline, chunks_of_ten, monkeypatch):
    monkeypatch.setattr(replays, "FEW_RECORDS", 10)
    pipeline = new_pipeline()
    bury(kafka, pipeline, *map(letter, range(40)))
    stops = iter([False, False, False, False, True])  # before each chunk, and before it is committed

    metrics = RecordedMetrics()

    with pytest.raises(Stopped) as stop:
        replay(kafka, pipeline, metrics=metrics, stopped=lambda: next(stops))

    assert_readable(stop.value, "20 dead letters")
    assert metrics.counted == {f"{pipeline.name}.replayed": 20}
    assert replayed_ids(kafka, pipeline) == ids(*range(20))
    assert replay(kafka, pipeline, metrics=metrics).replayed_now == 20
    assert metrics.counted == {f"{pipeline.name}.replayed": 40}
    assert replayed_ids(kafka, pipeline) == ids(*range(40))


def test_chunks_are_bounded_in_bytes(kafka, new_pipeline):
    """Of records of 600 bytes two fill a chunk of 1,024; every transaction leaves one marker."""
    pipeline = new_pipeline(prediction={"chunk_bytes": 1024})
    bury(kafka, pipeline, *(letter(number, value=bytes(600)) for number in range(5)))

    assert replay(kafka, pipeline).replayed == 5
    assert log_ends(kafka, pipeline.requests_topic, [0]) == {0: 5 + 3}


@pytest.mark.parametrize("where", ["values", "headers"])
def test_memory_is_bounded_by_a_chunk(kafka, new_pipeline, where):
    """They are 300 megabytes."""
    pipeline = new_pipeline(prediction={"chunk_bytes": 16 * 1024 * 1024})
    content = os.urandom(1_000_000)
    large = {"value": content} if where == "values" else {"headers": [("trace", content)]}
    for start in range(0, 300, 50):
        bury(kafka, pipeline, *(letter(number, **large) for number in range(start, start + 50)))

    with peak_memory() as memory:
        assert replay(kafka, pipeline).replayed == 300

    assert memory.growth < 260


def test_a_record_that_fails_after_every_replay_stays_dead(kafka, new_pipeline, broken):
    pipeline = new_pipeline(prediction={"max_replays": 2})
    produce(kafka, pipeline.requests_topic, [Record(numbers(0).tobytes(), b"ill", [("schema", SCHEMA)])])
    outcomes = []
    for number in range(4):
        predict(kafka, pipeline, broken)
        done = replay(kafka, pipeline, run=f"run-{number}")
        outcomes.append((done.replayed, done.already_replayed, dict(done.stay_dead)))

    assert outcomes == [(1, 0, {}), (1, 1, {}), (0, 2, {"exhausted": 1}), (0, 2, {"exhausted": 1})]
    assert [dict(record.headers()).get("replays") for record in requests(kafka, pipeline)] == [None, b"1", b"2"]


@pytest.mark.parametrize("content", [b"x", b"", None, b"-1", b"1.5", b"\xff", b"9" * 20], ids=str)
def test_a_count_that_is_no_number_counts_as_exhausted(kafka, new_pipeline, content):
    pipeline = new_pipeline()
    bury(kafka, pipeline, letter(0, headers=[("replays", content)]))

    assert replay(kafka, pipeline).stay_dead == {"exhausted": 1}
    assert requests(kafka, pipeline) == []


def test_a_dead_letter_without_its_value_stays_dead_and_is_logged_with_its_address(kafka, new_pipeline, caplog):
    pipeline = new_pipeline()
    bury(kafka, pipeline, letter(0), letter(1, "oversize", value=None), letter(2, "oversize"))

    done = replay(kafka, pipeline)

    assert (done.selected, done.replayed, done.stay_dead) == (3, 2, {"oversize": 1})
    assert f"{pipeline.dead_letters_topic}/0/1 stays dead, oversize: It was too large to be kept whole" in caplog.text


def test_a_dead_letter_without_its_headers_stays_dead(kafka, new_pipeline, caplog):
    pipeline = new_pipeline()
    produce_unreadable_header(kafka, pipeline.requests_topic, numbers(0).tobytes())
    assert predict(kafka, pipeline).dead_letters == {"unreadable-headers": 1}

    assert replay(kafka, pipeline).stay_dead == {"unreadable-headers": 1}
    assert f"{pipeline.dead_letters_topic}/0/0 stays dead" in caplog.text


def test_a_dead_letter_too_large_with_its_count_stays_dead(kafka, new_pipeline, caplog):
    """The broker would refuse the whole transaction."""
    pipeline = new_pipeline(topics={"partitions": 1, "max_record_bytes": 1024})
    bury(kafka, pipeline, letter(0), letter(1, value=bytes(900)), letter(2))

    done = replay(kafka, pipeline)

    assert (done.replayed, done.stay_dead) == (2, {"oversize": 1})
    assert "takes 1024" in caplog.text


def test_an_aborted_record_is_no_dead_letter(kafka, new_pipeline):
    pipeline = new_pipeline()
    bury(kafka, pipeline, letter(0))
    abort(kafka, pipeline.dead_letters_topic, [letter(1)])
    bury(kafka, pipeline, letter(2))

    assert replay(kafka, pipeline).selected == 2
    assert replayed_ids(kafka, pipeline) == ids(0, 2)


def test_without_dead_letters_nothing_is_replayed(kafka, new_pipeline):
    pipeline = new_pipeline()

    assert replay(kafka, pipeline).selected == 0
    assert log_ends(kafka, pipeline.requests_topic, [0]) == {}


def test_dead_letters_of_a_recreated_topic_are_new_ones(kafka, new_pipeline):
    pipeline = new_pipeline()
    bury(kafka, pipeline, letter(0))
    replay(kafka, pipeline)
    recreate_topic(kafka, pipeline.dead_letters_topic)
    bury(kafka, pipeline, letter(1))

    assert replay(kafka, pipeline, run="run-2").replayed == 1
    assert replayed_ids(kafka, pipeline) == ids(0, 1)


def test_the_ledger_has_an_entry_for_each_address(kafka, new_pipeline):
    pipeline = new_pipeline()
    bury(kafka, pipeline, letter(0), letter(1))
    replay(kafka, pipeline, number=1, run="run-5")

    keys = [ledger_key(kafka, pipeline, offset) for offset in (0, 1)]
    assert snapshot_ledger(kafka, keys) == {keys[0]: {"run": "run-5", "leader_epoch": 0}}


def test_another_record_at_a_replayed_offset_is_a_new_one(kafka, new_pipeline):
    """As after an unclean election: the log lost its tail, and a new leader wrote other records there."""
    pipeline = new_pipeline()
    bury(kafka, pipeline, letter(0), letter(1))
    with TransactionalWriter(kafka, f"{pipeline.name}.past") as writer, writer.transaction():
        for offset, epoch in enumerate((0, 7)):
            writer.write_ledger(ledger_key(kafka, pipeline, offset), {"run": "run-0", "leader_epoch": epoch})

    done = replay(kafka, pipeline)

    assert (done.replayed, done.already_replayed) == (1, 1)
    assert replayed_ids(kafka, pipeline) == ids(1)


def test_a_dead_letter_whose_entry_was_deleted_is_replayed_again(kafka, new_pipeline):
    pipeline = new_pipeline()
    bury(kafka, pipeline, letter(0), letter(1))
    replay(kafka, pipeline)
    key = ledger_key(kafka, pipeline, 1)
    produce(kafka, ledger.LEDGER_TOPIC, [Record(None, key.encode())], partition=key.partition)

    assert replay(kafka, pipeline, run="run-2").replayed == 1
    assert replayed_ids(kafka, pipeline) == ids(0, 1, 1)


def test_what_was_replayed_is_counted(kafka, new_pipeline):
    pipeline = new_pipeline()
    bury(kafka, pipeline, letter(0), letter(1))
    metrics = RecordedMetrics()

    replay(kafka, pipeline, metrics=metrics)

    assert metrics.counted == {f"{pipeline.name}.replayed": 2}


def test_without_a_broker_it_fails(no_broker, new_pipeline):
    with pytest.raises(BrokerUnavailable) as refusal:
        replay(no_broker, new_pipeline())

    assert_readable(refusal.value, no_broker.bootstrap_servers)
