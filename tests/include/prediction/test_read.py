"""`read_predictions` gives each committed prediction as one row, bounded by time and number."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from confluent_kafka import Message

from include.kafka.errors import TopicMissing
from include.kafka.records import Address
from include.prediction import read as read_module
from include.prediction.read import DTYPES, InvalidPeriod, predictions_table, read_predictions
from tests.support.assertions import assert_readable
from tests.support.producers import NOW_MS, Record, abort, commit, produce
from tests.support.published_values import prediction_value
from tests.support.publishing import ask, predictions, publish, request
from tests.support.tiny_pipelines import IDENTITY, certainty, letter, numbers, sample_id, tiny_pipeline

ANSWER = {"label": "a", "score": 0.5}
NOW = datetime.fromtimestamp(NOW_MS / 1000, UTC)


def published(kafka, pipeline, *numbered, write=produce, partition=0):
    """Predictions dated `NOW` plus their number in seconds."""
    records = []
    for number in numbered:
        value = value_of(pipeline.requests_topic, partition, number)
        records.append(Record(value=value, timestamp_ms=NOW_MS + 1000 * number))
    write(kafka, pipeline.predictions_topic, records, partition=partition)


def value_of(topic, partition, offset, timestamp_ms=NOW_MS, answer=ANSWER):
    return prediction_value(sample_id(offset), answer, IDENTITY, Address(topic, partition, offset), timestamp_ms)


def offsets(kafka, pipeline, **arguments):
    return read_predictions(kafka, pipeline, **arguments)["offset"].tolist()


def test_a_row_is_the_record_that_was_published(kafka, new_pipeline, predictor):
    pipeline = new_pipeline()
    publish(kafka, pipeline, ask(kafka, pipeline, *map(request, range(20))), predictor)
    table = read_predictions(kafka, pipeline)
    records = predictions(kafka, pipeline)
    assert table.drop(columns="timestamp").to_dict("records") == [
        {name: value for name, value in record.items() if name != "timestamp"} for record in records
    ]
    assert table["timestamp"].tolist() == [pd.Timestamp(NOW_MS + n, unit="ms", tz="UTC") for n in range(20)]
    assert table["label"].tolist() == [letter(numbers(n)) for n in range(20)]
    assert table["score"].tolist() == pytest.approx([certainty(numbers(n)) for n in range(20)], abs=1e-5)
    assert table.attrs["left_out"] == 0


def test_one_record_does_not_make_the_table_as_wide_as_it_likes(monkeypatch, caplog):
    """Sixty thousand names in one record took 3 GB for 2,000 rows."""
    monkeypatch.setattr(read_module, "MOST_CELLS", 1000)

    def answered(number, **values):
        value = value_of("shoes.requests", 0, number, answer={"values": values})
        return Message(topic="shoes.predictions", partition=0, offset=number, value=value)

    ours = [answered(number, height=0.5, width=2.0) for number in range(100)]
    before = [answered(number, height=0.5, depth=1.0) for number in range(100, 110)]
    wide = answered(110, **dict.fromkeys(map(str, range(500)), 0.0))

    table = predictions_table([wide, *ours, *before], "regression")

    assert table["offset"].tolist() == list(range(110))
    assert {name for name in table if "." in name} == {"value.height", "value.width", "value.depth"}
    assert table.attrs["left_out"] == 1
    assert "1 records are left out" in caplog.text
    # Alone, it is what it is.
    assert len(predictions_table([wide], "regression").columns) > 500


@pytest.mark.parametrize("rows", [0, 3])
def test_the_columns_have_their_dtypes_also_without_rows(kafka, new_pipeline, rows):
    pipeline = new_pipeline()
    published(kafka, pipeline, *range(rows))
    table = read_predictions(kafka, pipeline)
    assert {name: str(dtype) for name, dtype in table.dtypes.items()} == DTYPES
    assert len(table) == rows


def test_what_was_aborted_is_no_row(kafka, new_pipeline):
    pipeline = new_pipeline()
    published(kafka, pipeline, 1, 2, write=commit)
    published(kafka, pipeline, *range(10, 40), write=abort)
    assert offsets(kafka, pipeline) == [1, 2]
    assert offsets(kafka, pipeline, number=1) == [2]


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({}, range(10)),
        ({"since": 3}, range(3, 10)),
        ({"until": 3}, range(3)),
        ({"since": 3, "until": 7}, range(3, 7)),
        ({"since": 50}, []),
        ({"until": -50}, []),
        ({"number": 4}, range(6, 10)),
        ({"number": 40}, range(10)),
        ({"until": 5, "number": 2}, range(3, 5)),
        ({"since": 8, "number": 5}, range(8, 10)),
    ],
)
def test_the_period_is_that_of_publishing(kafka, new_pipeline, bounds, expected):
    pipeline = new_pipeline(topics={"partitions": 3})
    for partition in (0, 1):
        published(kafka, pipeline, *range(partition, 10, 2), partition=partition)
    times = {name: NOW + timedelta(seconds=value) for name, value in bounds.items() if name != "number"}
    assert offsets(kafka, pipeline, **{**bounds, **times}) == list(expected)


def test_times_that_are_not_in_order_lose_no_row(kafka, new_pipeline):
    pipeline = new_pipeline()
    published(kafka, pipeline, 5, 1, 7, 2)
    assert offsets(kafka, pipeline, since=NOW + timedelta(seconds=2)) == [2, 5, 7]


@pytest.mark.parametrize("timestamp_ms", [-1, 0, 2**53, 2**63 - 1])
def test_a_request_of_any_time_has_a_row(kafka, new_pipeline, timestamp_ms):
    pipeline = new_pipeline()
    produce(kafka, pipeline.predictions_topic, [Record(value=value_of("t", 0, 1, timestamp_ms))])
    times = read_predictions(kafka, pipeline)["timestamp"]
    milliseconds = times.dt.tz_localize(None).astype("int64").tolist()
    assert times.isna().all() if timestamp_ms < 0 else milliseconds == [timestamp_ms]


@pytest.mark.parametrize("value", [None, b"", b"\xff", b"[]", b"{}", json.dumps({"id": 1}).encode()])
def test_a_record_that_is_no_prediction_is_left_out_and_logged(kafka, new_pipeline, caplog, value):
    pipeline = new_pipeline()
    published(kafka, pipeline, 0)
    produce(kafka, pipeline.predictions_topic, [Record(value=value)])
    published(kafka, pipeline, 2)
    table = read_predictions(kafka, pipeline)
    assert table["offset"].tolist() == [0, 2]
    assert table.attrs["left_out"] == 1
    assert f"{pipeline.predictions_topic}/0/1" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"since": datetime(2026, 1, 1)}, "zone"),  # noqa: DTZ001 - what is refused
        ({"since": NOW, "until": NOW}, "until"),
        ({"number": 0}, "number"),
    ],
)
def test_invalid_periods_and_numbers_are_refused(kafka, arguments, named):
    with pytest.raises(InvalidPeriod) as refused:
        read_predictions(kafka, tiny_pipeline("never_made"), **arguments)
    assert_readable(refused.value, named)


def test_a_topic_that_is_missing_is_refused(kafka):
    with pytest.raises(TopicMissing) as refused:
        read_predictions(kafka, tiny_pipeline("never_made"))
    assert_readable(refused.value, "never_made.predictions")
