"""Typed values as the text of labels, groups and ids."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import numpy as np
import pytest

from include.field_text import NoSingleText, field_text, untyped_text
from include.strict_json import Number, parse


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("cat", "cat"),
        ("0.0", "0.0"),  # a text that was written as one stays as it is
        (b"cat", "cat"),
        (7, "7"),
        (0.0, "0"),
        (-0.0, "0"),
        (np.float32(3), "3"),
        (np.float32(0.1), "0.1"),  # as a float64 it is 0.10000000149011612
        (np.array([0.1, 2], np.float32), "[0.1, 2]"),
        (np.array(0.1, np.float16), "0.1"),
        (np.int64(3), "3"),
        (0.5, "0.5"),
        (1e300, "1e+300"),
        (1e-7, "1e-7"),
        (Decimal("1.50"), "1.5"),
        (Decimal("2.00"), "2"),
        (Decimal("1e+400"), "1e+400"),
        (True, "true"),
        (np.bool_(False), "false"),
        (date(2026, 6, 1), "2026-06-01"),
        (datetime(2026, 6, 1, 12, tzinfo=UTC), "2026-06-01T12:00:00+00:00"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (["a", b"b"], '["a", "b"]'),
        ([], "[]"),
        ([1.0, 2.5, True], "[1, 2.5, true]"),
        (np.array([1, 2]), "[1, 2]"),
    ],
)
def test_a_value_has_one_text(value, text):
    assert field_text(value) == text


@pytest.mark.parametrize(
    "value", [None, "", b"", float("nan"), np.float32("nan"), Decimal("NaN"), np.datetime64("NaT")]
)
def test_a_missing_value_has_none(value):
    assert field_text(value) is None


@pytest.mark.parametrize(
    ("json", "text"),
    [
        (b"0", "0"),
        (b"-0", "0"),
        (b"0.0", "0"),
        (b"2.50", "2.5"),
        (b"1e2", "100"),
        (b"9" * 5000, "9" * 5000),
        (b"1e999999999", "1e+999999999"),
        (b"[1, 2.0]", "[1, 2]"),
        (b"true", "true"),
    ],
)
def test_a_number_of_json_is_the_same_class_as_the_same_number_elsewhere(json, text):
    assert field_text(parse(json)) == text


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (float("inf"), "inf of type float"),
        ({"a": 1}, "{'a': 1} of type dict"),
        (b"\xff", r"b'\xff' of type bytes"),
        (["a", None], "['a', None] of type list"),
        ([["a"]], "['a'] of type list"),
        ([{"long": "y" * 100}], "of type dict"),
        (Number("1e99999999999999999999"), "1e99999999999999999999"),
        ("\ud800", "surrogate"),
    ],
)
def test_a_value_with_no_one_text_is_refused_with_its_type_and_value(value, named):
    with pytest.raises(NoSingleText) as refusal:
        field_text(value)

    assert named in str(refusal.value)
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("3.0", "3"),
        ("-0.0", "0"),
        ("7.", "7"),
        ("007", "007"),
        ("01234.0", "01234.0"),
        ("0", "0"),
        ("True", "true"),
        ("FALSE", "false"),
        ("NaN", None),
        ("NA", "NA"),  # Namibia, too
        ("3.5", "3.5"),
        ("cat", "cat"),
        ("1e3", "1e3"),
        ("", None),
    ],
)
def test_a_whole_number_of_csv_is_the_integer(cell, text):
    assert untyped_text(cell) == text
