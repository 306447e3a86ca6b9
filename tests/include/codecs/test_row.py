"""Rows: numbers are standardised and categories numbered by what the training samples have."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pydantic import ValidationError

from include.codecs import _row_statistics
from include.codecs._row_statistics import NoCategory, RowStatistics
from include.codecs.row import MISSING, UNKNOWN, RowCodec
from tests.support.assertions import assert_readable

CODEC = RowCodec(numbers=("age", "fare"), categories=("sex", "port"), missing="mark", missing_texts=("NA",))
ROWS = [
    {"age": 20, "fare": 5, "sex": "male", "port": "S"},
    {"age": 40, "fare": 5, "sex": "female", "port": "S"},
    {"fare": 5, "sex": "female", "port": "C"},
    {"age": "NA", "fare": 5, "sex": "female", "port": ""},
]


def values(rows):
    return [json.dumps(row).encode() for row in rows]


def counted(codec=CODEC, rows=ROWS):
    counting = codec.counting()
    counting.decode(values(rows))
    return codec.with_statistics(counting.statistics)


def inputs(codec, *rows):
    return codec.to_inputs(codec.decode(values(rows)).samples).tolist()


def test_statistics_are_of_the_values_that_are_there():
    assert counted().statistics == RowStatistics(
        mean=(30, 5), deviation=(10, 1), vocabularies=(("female", "male"), ("S", "C"))
    )


def test_numbers_are_standardised_and_categories_numbered():
    assert inputs(counted(), *ROWS) == [
        [-1, 0, 0, 0, 3, 2],
        [1, 0, 0, 0, 2, 2],
        [0, 0, 1, 0, 2, 3],
        [0, 0, 1, 0, 2, MISSING],
    ]


def test_a_text_that_no_training_sample_has_is_unknown():
    assert inputs(counted(), {"age": 30, "fare": 5, "sex": "both", "port": "s"}) == [[0, 0, 0, 0, UNKNOWN, UNKNOWN]]


@pytest.mark.parametrize("typed", [1, 1.0, "1"])
def test_a_category_has_one_text_whatever_type_a_record_gives_it(typed):
    codec = RowCodec(categories=("class",))
    assert inputs(counted(codec, [{"class": 1}, {"class": 1}, {"class": True}]), {"class": typed}) == [[2]]


def test_refused_rows_and_columns_that_are_not_named_do_not_count():
    rows = [*ROWS, {"age": "old", "fare": 1000, "sex": "x", "port": "S"}, {**ROWS[0], "name": 7}, ROWS[1]]
    assert counted(rows=rows).statistics.mean == (30, 5)
    assert counted(rows=rows).statistics.vocabularies == (("female", "male"), ("S", "C"))


def test_the_most_frequent_texts_are_the_vocabulary_and_the_others_unknown():
    codec = RowCodec(categories=("port",), vocabulary=2)
    rows = [{"port": port} for port in "ABBCCD"]
    assert counted(codec, rows).statistics.vocabularies == (("B", "C"),)
    assert inputs(counted(codec, rows), {"port": "A"}, {"port": "C"}) == [[UNKNOWN], [3]]


def test_a_number_far_away_does_not_dominate():
    assert inputs(counted(), {"age": 3e38, "fare": -3e38, "sex": "male", "port": "S"})[0][:2] == [1000, -1000]


def test_standardising_keeps_digits_that_float32_lacks():
    """Times in seconds since 1970 are 128 s apart in float32."""
    codec = counted(RowCodec(numbers=("time",)), [{"time": 1_795_532_203}, {"time": 1_795_532_205}])
    assert inputs(codec, {"time": 1_795_532_203}, {"time": 1_795_532_204}) == [[-1], [0]]


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_statistics_do_not_depend_on_the_batches_beyond_rounding(batch):
    rows = [{"age": float(age)} for age in np.random.default_rng(1).normal(1e6, 3, 200)]
    counting = RowCodec(numbers=("age",)).counting()
    for start in range(0, len(rows), batch):
        counting.decode(values(rows[start : start + batch]))
    ages = [row["age"] for row in rows]
    assert counting.statistics.mean[0] == pytest.approx(np.mean(ages), rel=1e-12)
    assert counting.statistics.deviation[0] == pytest.approx(np.std(ages), rel=1e-9)


def test_a_column_without_any_value_has_statistics():
    statistics = counted(rows=[{}]).statistics
    assert statistics == RowStatistics(mean=(0, 0), deviation=(1, 1), vocabularies=((), ()))
    assert inputs(counted(rows=[{}]), {}) == [[0, 0, 1, 1, 0, 0]]


def test_statistics_come_back_bit_for_bit_from_json():
    statistics = RowStatistics(mean=(0.1 + 0.2,), deviation=(1 / 3,), vocabularies=(("ü",),))
    assert RowStatistics.model_validate(json.loads(json.dumps(statistics.model_dump(mode="json")))) == statistics


def test_a_column_of_ids_is_no_category(monkeypatch):
    monkeypatch.setattr(_row_statistics, "MAX_TEXTS", 3)
    with pytest.raises(NoCategory) as refused:
        counted(RowCodec(categories=("name",)), [{"name": name} for name in "abcd"])
    assert_readable(refused.value, "name", 3)


def test_there_are_no_inputs_without_statistics():
    with pytest.raises(ValueError, match="statistics of the training samples"):
        inputs(CODEC, ROWS[0])


def test_a_code_without_a_text_is_not_encoded():
    with pytest.raises(ValueError, match="'sex' has no text"):
        CODEC.encode(np.array([1.0, 2, UNKNOWN, MISSING]))
    assert CODEC.encode(np.array([1.5, np.nan, MISSING, MISSING])) == b'{"age":1.5}'


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ({}, "at least one column"),
        ({"numbers": ["a", "a"], "categories": ["b"]}, "'a' is named twice"),
        ({"numbers": ["a"], "categories": ["a"]}, "'a' is named twice"),
        ({"numbers": [""]}, "at least 1 character"),
    ],
)
def test_a_format_without_columns_or_with_one_twice_is_refused(table, named):
    with pytest.raises(ValidationError, match=named):
        RowCodec.model_validate(table)
