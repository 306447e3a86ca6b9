"""Each request is predicted exactly once, or becomes a dead letter exactly once, whatever happens on the way."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from confluent_kafka import Consumer, TopicPartition

from include.errors import Stopped
from include.kafka import ledger
from include.kafka.errors import BrokerUnavailable, RangeUnavailable, TopicRecreated
from include.kafka.progress import progress_key, read_progress
from include.kafka.ranges import freeze_ranges
from include.prediction.publish import STEP, TooManyRejected, publish_predictions
from tests.include.kafka.test_ranges import remove_before
from tests.killable import kill_at, predict_job
from tests.producing import NOW_MS, Plain, abort, commit, produce
from tests.sentences import assert_readable
from tests.tiny import IDENTITY, SCHEMA, certainty, letter, numbers, sample_id, tiny_predictor
from tests.topics import committed_records, written


@pytest.fixture(scope="module")
def predictor():
    return tiny_predictor()


def request(number, **changed):
    plain = Plain(
        key=sample_id(number).encode(),
        value=numbers(number).tobytes(),
        headers=[("schema", SCHEMA)],
        timestamp_ms=NOW_MS + number,
    )
    return replace(plain, **changed)


def no_sample(number):
    return request(number, value=b"123")


def ask(kafka, pipeline, *requests, partition=0):
    """Write requests, and freeze what is in the topic."""
    produce(kafka, pipeline.requests_topic, requests, partition=partition)
    return freeze_ranges(kafka, pipeline.requests_topic)


def publish(kafka, pipeline, ranges, predictor, **arguments):
    return publish_predictions(kafka, pipeline, ranges, predictor, **{"run": "run-1", **arguments})


def predictions(kafka, pipeline):
    return [json.loads(record.value()) for record in committed_records(kafka, pipeline.predictions_topic)]


def predicted_ids(kafka, pipeline):
    return sorted(prediction["id"] for prediction in predictions(kafka, pipeline))


def dead_letters(kafka, pipeline):
    return committed_records(kafka, pipeline.dead_letters_topic)


def position_of(kafka, pipeline, item):
    entry = ledger.read(kafka, [progress_key(kafka, pipeline.name, STEP, item)])
    return next((found["position"] for found in entry.values()), None)


def group_offset(kafka, pipeline, partition=0):
    consumer = Consumer({**kafka.settings, "group.id": f"test.{pipeline.name}.predict"})
    try:
        return consumer.committed([TopicPartition(pipeline.requests_topic, partition)], timeout=10)[0].offset
    finally:
        consumer.close()


def test_every_request_is_predicted_once(kafka, new_pipeline, predictor):
    pipeline = new_pipeline(topics={"partitions": 3})
    for partition in range(3):
        ranges = ask(kafka, pipeline, *map(request, range(partition * 50, partition * 50 + 50)), partition=partition)

    published = publish(kafka, pipeline, ranges, predictor)

    assert (published.samples, published.predictions, published.rejected) == (150, 150, 0)
    assert predicted_ids(kafka, pipeline) == [sample_id(number) for number in range(150)]
    for prediction in predictions(kafka, pipeline):
        assert prediction["label"] == letter(numbers(int(prediction["id"].removeprefix("number-"))))
    assert dead_letters(kafka, pipeline) == []


def test_a_prediction_is_as_documented(kafka, new_pipeline, predictor):
    pipeline = new_pipeline(topics={"partitions": 2})
    produce(kafka, pipeline.requests_topic, [request(1), request(2)], partition=1)
    ranges = freeze_ranges(kafka, pipeline.requests_topic)

    publish(kafka, pipeline, ranges, predictor)

    record = next(r for r in committed_records(kafka, pipeline.predictions_topic) if r.key() == b"number-0002")
    assert json.loads(record.value()) == {
        "id": "number-0002",
        "label": letter(numbers(2)),
        "score": pytest.approx(certainty(numbers(2)), abs=1e-5),
        "model": "tiny",
        "version": 7,
        "digest": "d" * 64,
        "manifest": "0123456789abcdef",
        "topic": pipeline.requests_topic,
        "partition": 1,
        "offset": 1,
        "index": 0,
    }
    assert record.headers() == [("model", b"tiny/7")]
    assert record.timestamp()[1] == NOW_MS + 2


def test_a_request_without_a_key_goes_by_its_address(kafka, new_pipeline, predictor):
    pipeline = new_pipeline()
    ranges = ask(kafka, pipeline, request(0), request(1, key=None))

    publish(kafka, pipeline, ranges, predictor)

    record = committed_records(kafka, pipeline.predictions_topic)[1]
    address = f"{pipeline.requests_topic}/0/1/0"
    assert record.key().decode() == json.loads(record.value())["id"] == address


def test_a_key_that_is_no_text_is_kept_as_it_is(kafka, new_pipeline, predictor):
    pipeline = new_pipeline()
    ranges = ask(kafka, pipeline, request(0, key=b"\xff\x00"))

    publish(kafka, pipeline, ranges, predictor)

    record = committed_records(kafka, pipeline.predictions_topic)[0]
    assert record.key() == b"\xff\x00"
    assert json.loads(record.value())["id"] == "\ufffd\x00"


@pytest.mark.parametrize(
    ("changed", "reason", "told"),
    [
        ({"value": b"123"}, b"wrong-size", b"3 bytes"),
        ({"value": None}, b"empty", b"no value"),
        ({"value": np.array([1, 2, np.nan, 4], "<f4").tobytes()}, b"not-finite", b"NaN"),
        ({"headers": []}, b"wrong-schema", b"None"),
        ({"headers": [("schema", b"image.png/1"), ("trace", b"x")]}, b"wrong-schema", b"'image.png/1'"),
        ({"headers": [("schema", None)]}, b"wrong-schema", b"None"),
    ],
    ids=["cut short", "no value", "nan", "no schema", "other schema", "empty schema"],
)
def test_what_is_no_sample_becomes_a_dead_letter(kafka, new_pipeline, predictor, changed, reason, told):
    pipeline = new_pipeline()
    bad = request(1, **changed)
    ranges = ask(kafka, pipeline, request(0), bad, request(2))

    published = publish(kafka, pipeline, ranges, predictor, run="run-5")

    assert (published.samples, published.predictions, published.dead_letters) == (3, 2, {reason.decode(): 1})
    assert predicted_ids(kafka, pipeline) == [sample_id(0), sample_id(2)]
    (letter_,) = dead_letters(kafka, pipeline)
    assert (letter_.key(), letter_.value(), letter_.timestamp()[1]) == (bad.key, bad.value, bad.timestamp_ms)
    *original, because, error, address, run = letter_.headers()
    assert original == list(bad.headers)
    assert because == ("dead-letter-reason", reason)
    assert error[0] == "dead-letter-error"
    assert told in error[1]
    assert address == ("dead-letter-address", f"{pipeline.requests_topic}/0/1/0".encode())
    assert run == ("dead-letter-run", b"run-5")


def test_an_output_that_is_no_number_becomes_a_dead_letter(kafka, new_pipeline, predictor):
    pipeline = new_pipeline()
    overflowing = np.array([3e38, 3e38, 3e38, 0], "<f4").tobytes()
    ranges = ask(kafka, pipeline, request(0), request(1, value=overflowing))

    import torch

    class Doubling(torch.nn.Module):
        def forward(self, inputs):
            return predictor.network(inputs * 2)

    publish(kafka, pipeline, ranges, replace(predictor, network=Doubling()))

    assert predicted_ids(kafka, pipeline) == [sample_id(0)]
    assert dict(dead_letters(kafka, pipeline)[0].headers())["dead-letter-reason"] == b"not-finite"


def test_the_largest_request_there_can_be_fits_into_the_dead_letters(kafka, new_pipeline, predictor):
    """Beyond librdkafka's own limit of 1 MB a client refuses what the topic would take."""
    pipeline = new_pipeline()
    value = os.urandom(pipeline.topics.max_record_bytes - 300)
    ranges = ask(kafka, pipeline, request(0, value=value))

    publish(kafka, pipeline, ranges, predictor)

    assert dead_letters(kafka, pipeline)[0].value() == value


@pytest.mark.parametrize("point", ["before begin", "before commit", "after commit"])
def test_predictions_survive_a_kill(kafka, new_pipeline, predictor, point):
    """Killed in the second of four transactions; two of the requests become dead letters."""
    pipeline = new_pipeline(prediction={"chunk_samples": 10})
    bad = {12, 33}
    requests = [no_sample(number) if number in bad else request(number) for number in range(40)]
    ranges = ask(kafka, pipeline, *requests)
    kill_at(point, 2, predict_job(kafka, pipeline, ranges))
    lying = written(kafka, pipeline.predictions_topic, [0])[0]
    assert lying >= (10 if point == "before begin" else 19), "the killed attempt's records lie in the log"

    publish(kafka, pipeline, ranges, predictor)

    assert predicted_ids(kafka, pipeline) == [sample_id(number) for number in range(40) if number not in bad]
    assert [record.key().decode() for record in dead_letters(kafka, pipeline)] == [sample_id(12), sample_id(33)]
    assert position_of(kafka, pipeline, ranges[0]) == group_offset(kafka, pipeline) == 40
    assert publish(kafka, pipeline, ranges, predictor).samples == 0


def test_a_second_attempt_publishes_nothing(kafka, new_pipeline, predictor):
    pipeline = new_pipeline()
    ranges = ask(kafka, pipeline, *map(request, range(20)), no_sample(20))
    publish(kafka, pipeline, ranges, predictor)

    again = publish(kafka, pipeline, ranges, predictor, run="run-2")

    assert again.samples == 0
    assert len(predictions(kafka, pipeline)) == 20
    assert len(dead_letters(kafka, pipeline)) == 1


def test_what_overlaps_is_published_once(kafka, new_pipeline, predictor):
    """Two runs froze at different times: the second one's range holds the first one's."""
    pipeline = new_pipeline()
    first = ask(kafka, pipeline, *map(request, range(10)))
    second = ask(kafka, pipeline, *map(request, range(10, 25)))

    assert publish(kafka, pipeline, second, predictor).samples == 25
    assert publish(kafka, pipeline, first, predictor).samples == 0
    assert position_of(kafka, pipeline, second[0]) == 25
    assert len(predictions(kafka, pipeline)) == 25


def test_a_stop_between_chunks_leaves_whole_chunks(kafka, new_pipeline, predictor):
    pipeline = new_pipeline(prediction={"chunk_samples": 10})
    ranges = ask(kafka, pipeline, *map(request, range(40)))
    looks = iter([False, False, True])

    with pytest.raises(Stopped) as stop:
        publish(kafka, pipeline, ranges, predictor, stopped=lambda: next(looks))

    assert_readable(stop.value, pipeline.requests_topic, "20 samples")
    assert predicted_ids(kafka, pipeline) == [sample_id(number) for number in range(20)]
    assert position_of(kafka, pipeline, ranges[0]) == 20
    assert publish(kafka, pipeline, ranges, predictor).samples == 20
    assert predicted_ids(kafka, pipeline) == [sample_id(number) for number in range(40)]


@pytest.mark.parametrize(
    ("prediction", "chunks"),
    [
        ({"chunk_samples": 100}, 1),
        ({"chunk_samples": 10}, 3),
        ({"chunk_samples": 100, "chunk_bytes": 1024}, 2),
    ],
    ids=["all at once", "by number", "by bytes"],
)
def test_chunks_are_as_large_as_asked_for(kafka, new_pipeline, predictor, prediction, chunks):
    """A value takes 16 bytes, so 64 of them fill a chunk of 1,024; every transaction leaves one marker."""
    count = 65 if "chunk_bytes" in prediction else 25
    pipeline = new_pipeline(prediction=prediction)
    ranges = ask(kafka, pipeline, *map(request, range(count)))

    publish(kafka, pipeline, ranges, predictor)

    assert len(predictions(kafka, pipeline)) == count
    assert written(kafka, pipeline.predictions_topic, [0]) == {0: count + chunks}


def test_a_record_larger_than_a_chunk_is_a_chunk(kafka, new_pipeline, predictor):
    pipeline = new_pipeline(prediction={"chunk_bytes": 1024})
    ranges = ask(kafka, pipeline, request(0), request(1, value=bytes(5000)), request(2))

    assert publish(kafka, pipeline, ranges, predictor).samples == 3


def test_a_range_that_ends_in_markers_is_worked_through(kafka, new_pipeline, predictor):
    pipeline = new_pipeline()
    commit(kafka, pipeline.requests_topic, [request(0), request(1)])
    abort(kafka, pipeline.requests_topic, [request(9)] * 3)
    ranges = freeze_ranges(kafka, pipeline.requests_topic)
    assert ranges[0].end == 2 + 1 + 3 + 1

    published = publish(kafka, pipeline, ranges, predictor)

    assert published.samples == 2
    assert position_of(kafka, pipeline, ranges[0]) == group_offset(kafka, pipeline) == 7


def test_a_range_of_markers_alone_is_worked_through(kafka, new_pipeline, predictor):
    """Or it would be work to do for ever."""
    pipeline = new_pipeline()
    abort(kafka, pipeline.requests_topic, [request(9)] * 3)
    ranges = freeze_ranges(kafka, pipeline.requests_topic)

    assert publish(kafka, pipeline, ranges, predictor).samples == 0
    assert position_of(kafka, pipeline, ranges[0]) == 4
    assert predictions(kafka, pipeline) == []


def test_an_empty_range_is_left_alone(kafka, new_pipeline, predictor):
    pipeline = new_pipeline()
    ranges = freeze_ranges(kafka, pipeline.requests_topic)

    assert publish(kafka, pipeline, ranges, predictor).samples == 0
    assert position_of(kafka, pipeline, ranges[0]) is None


def test_the_ledger_names_topic_id_and_run(kafka, new_pipeline, predictor):
    pipeline = new_pipeline()
    ranges = ask(kafka, pipeline, request(0))

    publish(kafka, pipeline, ranges, predictor, run="run-5")

    assert read_progress(kafka, pipeline.name, STEP, ranges) == {
        0: {"topic_id": ranges[0].topic_id, "position": 1, "run": "run-5"}
    }


def test_too_large_a_share_of_dead_letters_stops_the_step(kafka, new_pipeline, predictor):
    """The first chunk is within the limit and stays; the second one is not published at all."""
    pipeline = new_pipeline(prediction={"chunk_samples": 100, "max_rejected_share": 0.2})
    mixed = [no_sample(number) if number >= 100 and number % 2 else request(number) for number in range(200)]
    ranges = ask(kafka, pipeline, *mixed)

    with pytest.raises(TooManyRejected) as refusal:
        publish(kafka, pipeline, ranges, predictor)

    assert_readable(refusal.value, "50 of 200 records", "0.2", "wrong-size", "prediction.max_rejected_share")
    assert predicted_ids(kafka, pipeline) == [sample_id(number) for number in range(100)]
    assert dead_letters(kafka, pipeline) == []
    assert position_of(kafka, pipeline, ranges[0]) == group_offset(kafka, pipeline) == 100


def test_a_share_that_is_allowed_goes_on(kafka, new_pipeline, predictor):
    pipeline = new_pipeline(prediction={"max_rejected_share": 0.5})
    ranges = ask(kafka, pipeline, *(no_sample(number) if number % 2 else request(number) for number in range(200)))

    assert publish(kafka, pipeline, ranges, predictor).dead_letters == {"wrong-size": 100}


def test_too_many_dead_letters_in_a_row_stop_the_step(kafka, new_pipeline, predictor):
    pipeline = new_pipeline(prediction={"max_rejected_in_a_row": 5})
    ranges = ask(kafka, pipeline, *map(request, range(10)), *map(no_sample, range(10, 16)), request(16))

    with pytest.raises(TooManyRejected) as refusal:
        publish(kafka, pipeline, ranges, predictor)

    assert_readable(refusal.value, "6 records in a row", pipeline.requests_topic, "prediction.max_rejected_in_a_row")
    assert predictions(kafka, pipeline) == dead_letters(kafka, pipeline) == []
    assert position_of(kafka, pipeline, ranges[0]) is None


def test_dead_letters_in_a_row_are_counted_across_chunks(kafka, new_pipeline, predictor):
    pipeline = new_pipeline(prediction={"max_rejected_in_a_row": 5, "chunk_samples": 4})
    ranges = ask(kafka, pipeline, *map(no_sample, range(6)))

    with pytest.raises(TooManyRejected):
        publish(kafka, pipeline, ranges, predictor)

    assert len(dead_letters(kafka, pipeline)) == 4


def test_a_good_record_between_ends_the_row(kafka, new_pipeline, predictor):
    pipeline = new_pipeline(prediction={"max_rejected_in_a_row": 5})
    ranges = ask(kafka, pipeline, *(request(number) if number % 6 == 5 else no_sample(number) for number in range(30)))

    assert publish(kafka, pipeline, ranges, predictor).rejected == 25


def test_a_limit_that_was_met_is_met_again(kafka, new_pipeline, predictor):
    """A retry does not drain the topic into dead letters, one limit at a time."""
    pipeline = new_pipeline(prediction={"max_rejected_in_a_row": 5})
    ranges = ask(kafka, pipeline, *map(no_sample, range(20)))

    for _ in range(2):
        with pytest.raises(TooManyRejected):
            publish(kafka, pipeline, ranges, predictor)

    assert dead_letters(kafka, pipeline) == []


def test_ranges_of_a_recreated_topic_are_refused(kafka, new_pipeline, predictor):
    pipeline = new_pipeline()
    ranges = ask(kafka, pipeline, request(0))
    recreate_requests(kafka, pipeline)
    produce(kafka, pipeline.requests_topic, [request(5)])

    with pytest.raises(TopicRecreated) as refusal:
        publish(kafka, pipeline, ranges, predictor)

    assert_readable(refusal.value, pipeline.requests_topic, ranges[0].topic_id)
    assert predictions(kafka, pipeline) == []


def test_a_recreated_topic_does_not_go_on_at_the_old_position(kafka, new_pipeline, predictor):
    pipeline = new_pipeline()
    publish(kafka, pipeline, ask(kafka, pipeline, request(0)), predictor)
    recreate_requests(kafka, pipeline)
    ranges = ask(kafka, pipeline, request(5), request(6))

    with pytest.raises(TopicRecreated) as refusal:
        publish(kafka, pipeline, ranges, predictor)

    assert_readable(refusal.value, pipeline.requests_topic, ranges[0].topic_id)
    assert predicted_ids(kafka, pipeline) == [sample_id(0)]


def recreate_requests(kafka, pipeline):
    from tests.include.kafka.test_ranges import recreate

    recreate(kafka, pipeline.requests_topic)


def test_requests_that_retention_removed_are_told(kafka, new_pipeline, predictor):
    pipeline = new_pipeline()
    ranges = ask(kafka, pipeline, *map(request, range(10)))
    remove_before(kafka, pipeline.requests_topic, 3)

    with pytest.raises(RangeUnavailable) as refusal:
        publish(kafka, pipeline, ranges, predictor)

    assert_readable(refusal.value, pipeline.requests_topic, "[0, 10)", "[3, 10)")
    assert predictions(kafka, pipeline) == []


def test_requests_that_were_removed_unpredicted_stop_the_step_until_accepted(kafka, new_pipeline, predictor):
    pipeline = new_pipeline()
    publish(kafka, pipeline, ask(kafka, pipeline, *(request(number) for number in range(4))), predictor)
    ask(kafka, pipeline, *(request(number) for number in range(4, 10)))
    remove_before(kafka, pipeline.requests_topic, 7)
    left = [item for item in freeze_ranges(kafka, pipeline.requests_topic) if item.offsets]

    with pytest.raises(RangeUnavailable, match="before anybody worked on them"):
        publish(kafka, pipeline, left, predictor)
    assert len(predictions(kafka, pipeline)) == 4
    publish(kafka, pipeline, left, predictor, accept_lost=True)
    assert len(predictions(kafka, pipeline)) > 4


def test_a_request_whose_prediction_is_too_large_becomes_a_dead_letter(kafka, new_pipeline, predictor):
    pipeline = new_pipeline()
    ranges = ask(kafka, pipeline, request(0), request(1, key=b"k" * 600_000), request(2))

    publish(kafka, pipeline, ranges, predictor)

    assert len(predictions(kafka, pipeline)) == 2
    (letter,) = dead_letters(kafka, pipeline)
    assert dict(letter.headers())["dead-letter-reason"] == b"oversize"


def test_without_a_broker_nothing_is_a_success(no_broker, kafka, new_pipeline, predictor):
    pipeline = new_pipeline()
    ranges = ask(kafka, pipeline, request(0))

    with pytest.raises(BrokerUnavailable) as refusal:
        publish(no_broker, pipeline, ranges, predictor)

    assert_readable(refusal.value, no_broker.bootstrap_servers)


def test_what_was_published_is_counted(kafka, new_pipeline, predictor):
    pipeline = new_pipeline()
    ranges = ask(kafka, pipeline, request(0), no_sample(1), request(2))
    counted = {}

    class Metrics:
        def count(self, name, value):
            counted[name] = value

    publish(kafka, pipeline, ranges, predictor, metrics=Metrics())

    assert counted == {f"{pipeline.name}.predictions": 2, f"{pipeline.name}.dead_letters": 1}


def test_the_identity_s_header_filters_by_model_and_version():
    assert IDENTITY.header == ("model", b"tiny/7")
