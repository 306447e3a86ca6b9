"""Rows whose columns are fields of a record."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from include.codecs.row import RowCodec
from include.envelopes.avro import AvroEnvelope
from include.envelopes.json_object import JsonEnvelope
from include.refusal import InvalidRecord
from tests.support.assertions import assert_readable

COLUMNS = ("age", "ticket.fare", "sex")
RECORD = {"id": 7, "age": 29, "ticket": {"fare": 211.5}, "sex": "female", "label": "yes", "more": {"any": [1]}}


def opener(**settings):
    envelope = JsonEnvelope.model_validate({"content_is": "row", "id": "id", **settings})
    return envelope.with_columns(COLUMNS).open_with(None, "label")


def opened(record, **settings):
    return opener(**settings)(json.dumps(record).encode())


def test_the_columns_of_a_record_are_its_row_and_no_others():
    found = opened(RECORD)
    assert json.loads(found.content) == {"age": 29, "ticket.fare": 211.5, "sex": "female"}
    assert (found.id, found.label) == (b"7", "yes")


def test_a_row_may_be_an_object_within_the_record():
    assert json.loads(opened({"id": 1, "payload": RECORD}, content="payload").content)["age"] == 29


def test_a_field_with_the_very_name_comes_before_a_field_of_a_field():
    assert json.loads(opened({**RECORD, "ticket.fare": 5}).content)["ticket.fare"] == 5


def test_a_missing_column_is_left_to_the_format():
    (refusal,) = (
        RowCodec(numbers=COLUMNS[:2], categories=COLUMNS[2:]).decode([opened({"id": 1}).content]).refusals.values()
    )
    assert refusal.reason == "missing-field"


@pytest.mark.parametrize("digits", ["1" * 400, "1e999999", "-0.0", "1.50"])
def test_a_number_keeps_its_digits(digits):
    content = opener()(json.dumps(RECORD).replace("29", digits).encode()).content
    assert f'"age":{digits},' in content.decode()


@pytest.mark.parametrize(
    ("record", "settings"),
    [
        ({**RECORD, "sex": {"is": "female"}}, {}),
        ({**RECORD, "ticket": 7}, {}),
        ({**RECORD, "sex": "\ud800"}, {}),
        ({"id": 1, "payload": [1, 2]}, {"content": "payload"}),
        ({"id": 1}, {"content": "payload"}),
    ],
)
def test_a_record_without_a_row_is_refused(record, settings):
    with pytest.raises(InvalidRecord) as refused:
        opened(record, **settings)
    assert refused.value.refusal.reason == "wrong-type"
    assert_readable(refused.value)


def test_typed_fields_of_avro_are_numbers_or_texts():
    schema = {
        "type": "record",
        "name": "Row",
        "fields": [
            {"name": "age", "type": ["null", "double"]},
            {"name": "fare", "type": {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}},
            {"name": "port", "type": {"type": "enum", "name": "Port", "symbols": ["S", "C"]}},
            {"name": "paid", "type": "boolean"},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        ],
    }
    import io

    import fastavro

    value = io.BytesIO()
    at = datetime(2026, 6, 1, tzinfo=UTC)
    row = {"age": None, "fare": Decimal("7.50"), "port": "S", "paid": True, "at": at}
    fastavro.schemaless_writer(value, fastavro.parse_schema(schema), row)
    envelope = AvroEnvelope(content_is="row", avro_schema=json.dumps(schema))
    open_value = envelope.with_columns(("age", "fare", "port", "paid", "at")).open_with(None, None)
    assert json.loads(open_value(value.getvalue()).content) == {
        "fare": 7.5,
        "port": "S",
        "paid": True,
        "at": "2026-06-01T00:00:00+00:00",
    }
