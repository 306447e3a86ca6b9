"""Each request is predicted exactly once, or becomes a dead letter exactly once, through kills and retries."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from include.errors import Stopped
from include.exactly_once.snapshot import snapshot_progress
from include.kafka.errors import BrokerUnavailable, RangeUnavailable, TopicRecreated
from include.kafka.ranges import freeze_ranges
from include.prediction import chunks
from include.prediction.publish import STEP
from tests.support.administrator import delete_records, recreate_topic
from tests.support.assertions import assert_readable
from tests.support.attempts import kill_at, predict_job
from tests.support.consumers import committed_records, log_ends
from tests.support.producers import NOW_MS, abort, commit, produce
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
from tests.support.recorded_metrics import RecordedMetrics
from tests.support.tiny_pipelines import IDENTITY, certainty, letter, numbers, sample_id


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
        "timestamp": NOW_MS + 2,
    }
    assert record.headers() == [("model", b"tiny/7")]


def test_named_headers_of_a_request_are_carried_to_its_prediction_and_its_dead_letter(kafka, new_pipeline, predictor):
    pipeline = new_pipeline(prediction={"carry": ["traceparent", "correlation-id"]})
    carried = [("traceparent", b"00-1"), ("correlation-id", None), ("correlation-id", b"\xff")]
    headers = [*request(0).headers, *carried, ("other", b"1")]
    ranges = ask(kafka, pipeline, request(0, headers=headers), bad_request(1), request(2, headers=headers, value=b"1"))

    publish(kafka, pipeline, ranges, predictor)

    [record] = committed_records(kafka, pipeline.predictions_topic)
    assert record.headers() == [("model", b"tiny/7"), *carried]
    assert dead_letters(kafka, pipeline)[1].headers()[: len(headers)] == headers


def test_a_prediction_has_the_best_labels_where_the_pipeline_asks_for_them(kafka, new_pipeline, predictor):
    pipeline, plain = new_pipeline(prediction={"top_k": 2}), new_pipeline()
    for each in (pipeline, plain):
        publish(kafka, each, ask(kafka, each, request(0)), predictor)

    ([record], [without]) = (committed_records(kafka, each.predictions_topic) for each in (pipeline, plain))
    fields, less = json.loads(record.value()), json.loads(without.value())
    first, second = fields.pop("top")
    assert first == {"label": less["label"], "score": less["score"]}
    assert second["label"] != first["label"]
    assert second["score"] <= first["score"]
    assert list(fields) == list(less)


def test_a_prediction_may_be_a_cloud_event_whose_id_is_that_of_request_and_version(kafka, new_pipeline, predictor):
    pipeline = new_pipeline(prediction={"cloud_events": True, "carry": ["traceparent"]})
    headers = [*request(0).headers, ("traceparent", b"00-1")]
    ranges = ask(kafka, pipeline, request(0), request(1, headers=headers))

    publish(kafka, pipeline, ranges, predictor)

    first, second = committed_records(kafka, pipeline.predictions_topic)
    attributes = [
        ("ce_specversion", b"1.0"),
        ("ce_type", b"millrace.prediction"),
        ("ce_source", f"/millrace/local/{pipeline.name}".encode()),
        ("ce_id", f"{pipeline.requests_topic}/0/1/7".encode()),
        ("content-type", b"application/json"),
    ]
    assert second.headers() == [("model", b"tiny/7"), *attributes, ("traceparent", b"00-1")]
    assert dict(first.headers())["ce_id"] != dict(second.headers())["ce_id"]
    assert json.loads(second.value())["offset"] == 1


def test_a_request_without_a_key_goes_by_its_address(kafka, new_pipeline, predictor):
    pipeline = new_pipeline()
    ranges = ask(kafka, pipeline, request(0), request(1, key=None))

    publish(kafka, pipeline, ranges, predictor)

    record = committed_records(kafka, pipeline.predictions_topic)[1]
    address = f"{pipeline.requests_topic}/0/1"
    assert record.key().decode() == json.loads(record.value())["id"] == address


def test_a_key_that_is_not_utf8_is_kept_and_has_an_id_of_its_own(kafka, new_pipeline, predictor):
    pipeline = new_pipeline()
    keys = [b"\xff\x00", b"\xfe\x00"]
    ranges = ask(kafka, pipeline, *(request(number, key=key) for number, key in enumerate(keys)))

    publish(kafka, pipeline, ranges, predictor)

    records = committed_records(kafka, pipeline.predictions_topic)
    assert [record.key() for record in records] == keys
    assert [json.loads(record.value())["id"] for record in records] == ["\\xff\x00", "\\xfe\x00"]


def test_one_id_with_two_payloads_is_two_requests(kafka, new_pipeline, predictor):
    pipeline = new_pipeline()
    ranges = ask(kafka, pipeline, request(0), request(1, key=request(0).key))

    assert publish(kafka, pipeline, ranges, predictor).predictions == 2

    found = [
        (prediction["id"], prediction["offset"], prediction["label"]) for prediction in predictions(kafka, pipeline)
    ]
    assert found == [(sample_id(0), number, letter(numbers(number))) for number in range(2)]


@pytest.mark.parametrize("point", ["before begin", "before commit", "after commit"])
def test_predictions_survive_a_kill(kafka, new_pipeline, predictor, point):
    """Killed in the second of four transactions; two of the requests become dead letters."""
    pipeline = new_pipeline(prediction={"chunk_samples": 10})
    bad = {12, 33}
    requests = [bad_request(number) if number in bad else request(number) for number in range(40)]
    ranges = ask(kafka, pipeline, *requests)
    kill_at(point, 2, predict_job(kafka, pipeline, ranges))
    lying = log_ends(kafka, pipeline.predictions_topic, [0])[0]
    assert lying >= (10 if point == "before begin" else 19), "the killed attempt's records lie in the log"

    publish(kafka, pipeline, ranges, predictor)

    assert predicted_ids(kafka, pipeline) == [sample_id(number) for number in range(40) if number not in bad]
    assert [record.key().decode() for record in dead_letters(kafka, pipeline)] == [sample_id(12), sample_id(33)]
    assert position_of(kafka, pipeline, ranges[0]) == group_offset(kafka, pipeline) == 40
    assert publish(kafka, pipeline, ranges, predictor).samples == 0


def test_a_second_attempt_publishes_nothing(kafka, new_pipeline, predictor):
    pipeline = new_pipeline()
    ranges = ask(kafka, pipeline, *map(request, range(20)), bad_request(20))
    publish(kafka, pipeline, ranges, predictor)

    again = publish(kafka, pipeline, ranges, predictor, run="run-2")

    assert again.samples == 0
    assert len(predictions(kafka, pipeline)) == 20
    assert len(dead_letters(kafka, pipeline)) == 1


def test_overlapping_ranges_are_published_once(kafka, new_pipeline, predictor):
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
    stops = iter([False, False, False, False, True])  # before each chunk, and before it is committed

    with pytest.raises(Stopped) as stop:
        publish(kafka, pipeline, ranges, predictor, stopped=lambda: next(stops))

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
        ({"chunk_samples": 100, "chunk_bytes": 1024}, 5),
    ],
    ids=["all at once", "by number", "by bytes"],
)
def test_chunks_are_as_large_as_asked_for(kafka, new_pipeline, predictor, prediction, chunks):
    """With its header a request takes some 170 bytes of memory; every transaction leaves one marker."""
    pipeline = new_pipeline(prediction=prediction)
    ranges = ask(kafka, pipeline, *map(request, range(25)))

    publish(kafka, pipeline, ranges, predictor)

    assert len(predictions(kafka, pipeline)) == 25
    assert log_ends(kafka, pipeline.predictions_topic, [0]) == {0: 25 + chunks}


def test_a_chunk_has_a_bounded_number_of_pixels(kafka, new_pipeline, predictor, monkeypatch):
    """700 bytes may be 16 million pixels, and a stop is noticed between chunks only."""
    monkeypatch.setattr(chunks, "CHUNK_PIXELS", 1000)
    monkeypatch.setattr(chunks, "_pixels", lambda requests, *_: np.full(len(requests), 100))
    pipeline = new_pipeline()

    publish(kafka, pipeline, ask(kafka, pipeline, *map(request, range(25))), predictor)

    assert len(predictions(kafka, pipeline)) == 25
    assert log_ends(kafka, pipeline.predictions_topic, [0]) == {0: 25 + 3}


def test_a_record_larger_than_a_chunk_is_a_chunk(kafka, new_pipeline, predictor):
    pipeline = new_pipeline(prediction={"chunk_bytes": 1024})
    ranges = ask(kafka, pipeline, request(0), request(1, value=bytes(5000)), request(2))

    assert publish(kafka, pipeline, ranges, predictor).samples == 3


def test_a_range_that_ends_in_markers_is_processed_to_its_end(kafka, new_pipeline, predictor):
    pipeline = new_pipeline()
    commit(kafka, pipeline.requests_topic, [request(0), request(1)])
    abort(kafka, pipeline.requests_topic, [request(9)] * 3)
    ranges = freeze_ranges(kafka, pipeline.requests_topic)
    assert ranges[0].end == 2 + 1 + 3 + 1

    published = publish(kafka, pipeline, ranges, predictor)

    assert published.samples == 2
    assert position_of(kafka, pipeline, ranges[0]) == group_offset(kafka, pipeline) == 7


def test_a_range_of_markers_alone_is_processed_to_its_end(kafka, new_pipeline, predictor):
    """Otherwise it would stay in the backlog for ever."""
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

    assert snapshot_progress(kafka, pipeline.name, STEP, ranges) == {
        0: {"topic_id": ranges[0].topic_id, "position": 1, "run": "run-5", "leader_epoch": 0, "rejected_in_a_row": 0}
    }


def test_the_leader_epoch_of_a_position_is_kept_only_if_a_record_is_right_before_it(kafka, new_pipeline, predictor):
    """A marker may have a later epoch, by which the broker would report a truncated log."""
    pipeline = new_pipeline()
    commit(kafka, pipeline.requests_topic, [request(0)])
    ranges = freeze_ranges(kafka, pipeline.requests_topic)

    publish(kafka, pipeline, ranges, predictor)

    assert "leader_epoch" not in snapshot_progress(kafka, pipeline.name, STEP, ranges)[0]


def test_ranges_of_a_recreated_topic_are_refused(kafka, new_pipeline, predictor):
    pipeline = new_pipeline()
    ranges = ask(kafka, pipeline, request(0))
    recreate_topic(kafka, pipeline.requests_topic)
    produce(kafka, pipeline.requests_topic, [request(5)])

    with pytest.raises(TopicRecreated) as refusal:
        publish(kafka, pipeline, ranges, predictor)

    assert_readable(refusal.value, pipeline.requests_topic, ranges[0].topic_id)
    assert predictions(kafka, pipeline) == []


def test_a_recreated_topic_does_not_resume_at_the_old_position(kafka, new_pipeline, predictor):
    pipeline = new_pipeline()
    publish(kafka, pipeline, ask(kafka, pipeline, request(0)), predictor)
    recreate_topic(kafka, pipeline.requests_topic)
    ranges = ask(kafka, pipeline, request(5), request(6))

    with pytest.raises(TopicRecreated) as refusal:
        publish(kafka, pipeline, ranges, predictor)

    assert_readable(refusal.value, pipeline.requests_topic, ranges[0].topic_id)
    assert predicted_ids(kafka, pipeline) == [sample_id(0)]


def test_requests_that_retention_removed_are_refused(kafka, new_pipeline, predictor):
    pipeline = new_pipeline()
    ranges = ask(kafka, pipeline, *map(request, range(10)))
    delete_records(kafka, pipeline.requests_topic, 3)

    with pytest.raises(RangeUnavailable) as refusal:
        publish(kafka, pipeline, ranges, predictor)

    assert_readable(refusal.value, pipeline.requests_topic, "[0, 10)", "[3, 10)")
    assert predictions(kafka, pipeline) == []


def test_requests_that_were_removed_unpredicted_stop_the_step_until_accepted(kafka, new_pipeline, predictor):
    pipeline = new_pipeline()
    publish(kafka, pipeline, ask(kafka, pipeline, *(request(number) for number in range(4))), predictor)
    ask(kafka, pipeline, *(request(number) for number in range(4, 10)))
    delete_records(kafka, pipeline.requests_topic, 7)
    left = [item for item in freeze_ranges(kafka, pipeline.requests_topic) if item.offsets]

    with pytest.raises(RangeUnavailable, match="before they were processed"):
        publish(kafka, pipeline, left, predictor)
    assert len(predictions(kafka, pipeline)) == 4
    publish(kafka, pipeline, left, predictor, accept_lost=True)
    assert len(predictions(kafka, pipeline)) > 4


def test_without_a_broker_it_fails(no_broker, kafka, new_pipeline, predictor):
    pipeline = new_pipeline()
    ranges = ask(kafka, pipeline, request(0))

    with pytest.raises(BrokerUnavailable) as refusal:
        publish(no_broker, pipeline, ranges, predictor)

    assert_readable(refusal.value, no_broker.bootstrap_servers)


def test_what_was_published_is_counted(kafka, new_pipeline, predictor):
    pipeline = new_pipeline()
    ranges = ask(kafka, pipeline, request(0), bad_request(1), request(2))
    metrics = RecordedMetrics()

    publish(kafka, pipeline, ranges, predictor, metrics=metrics)

    assert metrics.counted == {f"{pipeline.name}.predictions": 2, f"{pipeline.name}.dead_letters": 1}


def test_each_chunk_is_a_span_with_its_offsets(kafka, new_pipeline, predictor):
    pipeline = new_pipeline(prediction={"chunk_samples": 20})
    metrics, began_ns = RecordedMetrics(), time.time_ns()
    publish(kafka, pipeline, ask(kafka, pipeline, *map(request, range(50))), predictor, metrics=metrics)

    names, times, attributes = zip(*metrics.spans, strict=True)
    assert set(names) == {"millrace.predict.chunk"}
    assert began_ns < times[0] <= times[1] <= times[2] < time.time_ns()
    found = [(each["millrace.offsets.start"], each["millrace.offsets.end"]) for each in attributes]
    assert found == [(0, 20), (20, 40), (40, 50)]
    assert [each["messaging.batch.message_count"] for each in attributes] == [20, 20, 10]
    assert {each["messaging.destination.name"] for each in attributes} == {pipeline.requests_topic}
    assert {each["millrace.model.version"] for each in attributes} == {7}


def test_the_identity_s_header_filters_by_model_and_version():
    assert IDENTITY.header == ("model", b"tiny/7")
