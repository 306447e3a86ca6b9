"""A record names its schema: whatever it is, opening one value takes bounded time and memory, or is refused."""

from __future__ import annotations

import io
import json
import os

import fastavro
import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from include.envelopes import _bounded_avro, _bounded_json_schema
from include.envelopes._bounded_avro import AvroBounds
from include.envelopes.avro import AvroEnvelope
from include.envelopes.base import EnvelopeContent
from include.envelopes.json_schema import JsonSchemaEnvelope
from include.refusal import InvalidRecord
from tests.support.assertions import assert_readable

AVRO = AvroEnvelope(content="text")
JSON = JsonSchemaEnvelope(content="text")
TEXT = {"name": "text", "type": "string"}


def record(*fields, name="Page"):
    return {"type": "record", "name": name, "fields": [TEXT, *fields] if name == "Page" else list(fields)}


def field(kind, name="items"):
    return {"name": name, "type": kind}


def array(items):
    return field({"type": "array", "items": items})


EMPTY = record(name="Empty")
NULLS = record(*(field("null", f"n{number}") for number in range(100)), name="Nulls")


def ten_of_each(levels):
    """Each record has ten of the next one, so that one of no bytes has ten to the power of their number."""
    kind = EMPTY
    for level in range(levels):
        name = f"Level{level}"
        first, *others = [kind, *[kind["name"]] * 9]
        kind = record(field(first, "f0"), *(field(other, f"f{n}") for n, other in enumerate(others, 1)), name=name)
    return kind


TREE = record(
    field({"type": "array", "items": "Tree"}, "children"), *(field("null", f"n{n}") for n in range(20)), name="Tree"
)

UNSAFE = {
    "nulls": array("null"),
    "empty records": array(EMPTY),
    "fixed of no bytes": array({"type": "fixed", "name": "Nothing", "size": 0}),
    "records of these": array(record(field("null", "a"), field(EMPTY, "b"), name="Inner")),
    "a hundred nulls for a byte": array(["null", NULLS]),
    "a map of such": field({"type": "map", "values": NULLS}),
    "a tree of nulls": field(["null", TREE]),
    "ten of ten of ten": field(ten_of_each(6)),
}


@pytest.fixture
def opened(registry):
    """Opens content with a schema, which is registered first, as of its id or in an envelope's list of ids."""
    client = SchemaRegistryClient(dict(registry.settings))

    def opened(envelope, schema, content, *, listed=False):
        kind = "AVRO" if envelope.kind == "avro" else "JSON"
        number = client.register_schema("pages-value", Schema(json.dumps(schema), kind))
        if listed:
            envelope = envelope.model_copy(update={"schema_ids": (number,)})
        with registry.client() as schemas:
            return envelope.open_with(schemas, None)(b"\0" + number.to_bytes(4, "big") + content)

    return opened


def avro(schema, fields):
    content = io.BytesIO()
    fastavro.schemaless_writer(content, fastavro.parse_schema(schema), fields)
    return content.getvalue()


def assert_refused(refused, reason):
    assert refused.value.refusal.reason == reason
    assert_readable(refused.value)


class TestAvro:
    @pytest.mark.parametrize("kind", UNSAFE.values(), ids=UNSAFE)
    @pytest.mark.parametrize("listed", [False, True])
    def test_a_schema_by_which_few_bytes_become_many_values_is_refused(self, opened, kind, listed):
        """The first needs fifteen bytes for four billion nulls, and read them until the memory was full."""
        four_billion = b"\xfe\xff\xff\xff\x1f\0"
        with pytest.raises(InvalidRecord) as refused:
            opened(AVRO, record(kind), b"\2a" + four_billion, listed=listed)
        assert_refused(refused, "unsafe-schema")

    @pytest.mark.parametrize("kind", UNSAFE.values(), ids=UNSAFE)
    def test_it_is_refused_in_a_pipelines_file_too(self, kind):
        with pytest.raises(ValueError, match="few bytes can take any amount of memory"):
            AvroEnvelope(content="text", avro_schema=json.dumps(record(kind)))

    @pytest.mark.parametrize(
        ("kind", "items"),
        [
            (array("double"), [0.5, 2.0]),
            (array(["null", "string"]), [None, "a"]),
            (array({"type": "array", "items": "int"}), [[], [1, -2]]),
            (array(["null", record(*(field("int", f"i{n}") for n in range(50)), name="Wide")]), [None]),
            (field({"type": "map", "values": "long"}), {"a": 2**40, "": -1}),
            (field({"type": "enum", "name": "Size", "symbols": ["S", "L"]}), "L"),
            (field({"type": "fixed", "name": "Four", "size": 4}), b"1234"),
            (field(["null", record(field("boolean", "b"), field("float", "f"), name="R")]), {"b": True, "f": 1.0}),
            (field(record(field(["null", "Node"], "next"), name="Node")), {"next": {"next": None}}),
        ],
    )
    def test_a_usual_schema_is_read_also_where_its_values_are_measured(self, opened, kind, items, monkeypatch):
        monkeypatch.setattr(_bounded_avro, "LARGE_BYTES", 0)
        schema = record(kind)
        assert opened(AVRO, schema, avro(schema, {"text": "a", "items": items})) == EnvelopeContent(b"a")

    def test_a_value_that_would_take_too_much_memory_is_refused_before_it_is_read(self, opened, monkeypatch):
        monkeypatch.setattr(_bounded_avro, "MAX_MEMORY_BYTES", 8 * 2**20)
        nested = record(field(record(field("boolean", "b"), name="Inner"), "i"), name="Outer")
        count = 200_000
        content = b"\2a" + _zigzag(count) + b"\1" * count + b"\0"
        with pytest.raises(InvalidRecord) as refused:
            opened(AVRO, record(array(nested)), content)
        assert_refused(refused, "too-complex")

    def test_texts_of_any_length_are_no_items(self, opened):
        schema = record(array("string"))
        content = avro(schema, {"text": "a" * 1_000_000, "items": ["b" * 1_000_000]})
        assert opened(AVRO, schema, content).content == b"a" * 1_000_000

    @pytest.mark.parametrize("kind", ["bytes", "fixed"])
    def test_a_long_decimal_is_refused(self, opened, kind):
        decimal = {"type": kind, "logicalType": "decimal", "precision": 10, "scale": 2}
        if kind == "fixed":
            decimal |= {"name": "Amount", "size": 900_000}
        size = b"" if kind == "fixed" else _zigzag(900_000)
        with pytest.raises(InvalidRecord) as refused:
            opened(AVRO, record(field(decimal)), b"\2a" + size + b"\1" * 900_000)
        assert_refused(refused, "too-complex")

    def test_a_usual_decimal_is_read(self, opened):
        decimal = {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}
        envelope = AVRO.model_copy(update={"id": "items"})
        assert opened(envelope, record(field(decimal)), b"\2a\4\1\0").id == b"2.56"

    def test_a_schema_without_a_type_that_it_names_is_refused(self):
        with pytest.raises(InvalidRecord) as refused:
            AvroBounds(record(field("Nobody")))
        assert_refused(refused, "unsafe-schema")


OBJECT = {"type": "object", "properties": {"text": {"type": "string"}}}
DIALECT = "http://json-schema.org/draft-07/schema#"
DOUBLED = {
    f"d{level}": {"allOf": [{"$ref": f"#/definitions/d{level - 1}"}] * 2} if level else {"type": "object"}
    for level in range(40)
}


def page(**properties):
    return {**OBJECT, "properties": {**OBJECT["properties"], **properties}}


class TestJsonSchema:
    @pytest.mark.parametrize(
        "part",
        [
            {"pattern": "^(a+)+$"},
            {"$schema": DIALECT, "pattern": "^(a+)+$"},
            {"patternProperties": {"^(a+)+$": {}}},
            {"additionalProperties": False, "patternProperties": {"^(a+)+$": {}}},
            {"$ref": "#/definitions/p", "definitions": {"p": {"pattern": "^(a+)+$"}}},
            {"anyOf": [{"type": "null"}, {"items": {"pattern": "^(a+)+$"}}]},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("dialect", [DIALECT, "https://json-schema.org/draft/2020-12/schema"])
    def test_a_regular_expression_of_a_schema_that_nobody_chose_is_refused(self, opened, part, dialect):
        part = json.loads(json.dumps(part).replace("#/definitions/p", "#/properties/bad/definitions/p"))
        backtracking = "a" * 40 + "!"
        bad = {backtracking: 1} if "patternProperties" in part else [backtracking] if "anyOf" in part else backtracking
        with pytest.raises(InvalidRecord) as refused:
            opened(JSON, {"$schema": dialect, **page(bad=part)}, json.dumps({"text": "a", "bad": bad}).encode())
        assert_refused(refused, "unsafe-schema")

    @pytest.mark.parametrize("keyword", ["unevaluatedProperties", "unevaluatedItems"])
    def test_a_search_of_the_schema_that_is_not_counted_is_refused(self, opened, keyword):
        schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **page(bad={keyword: False})}
        with pytest.raises(InvalidRecord) as refused:
            opened(JSON, schema, b'{"text": "a", "bad": {}}')
        assert_refused(refused, "unsafe-schema")

    def test_one_of_a_listed_schema_is_used(self, opened):
        schema = page(code={"pattern": "^[0-9]+$"})
        assert opened(JSON, schema, b'{"text": "a", "code": "12"}', listed=True).content == b"a"
        with pytest.raises(InvalidRecord) as refused:
            opened(JSON, schema, b'{"text": "a", "code": "b"}', listed=True)
        assert_refused(refused, "not-its-schema")

    def test_many_unique_items_are_compared_once_each(self, opened):
        """43 kB took 37 s when each was compared with each."""
        schema = page(items={"uniqueItems": True})
        items = [{"number": number} for number in range(4000)]
        assert opened(JSON, schema, json.dumps({"text": "a", "items": items}).encode()).content == b"a"
        with pytest.raises(InvalidRecord) as refused:
            opened(JSON, schema, json.dumps({"text": "a", "items": [*items, items[0]]}).encode())
        assert_refused(refused, "not-its-schema")

    @pytest.mark.parametrize(
        "schema",
        [
            {**OBJECT, "allOf": [{"$ref": "#/definitions/d39"}], "definitions": DOUBLED},
            page(bad={"items": {"enum": [[number] for number in range(5000)]}}),
            page(bad={"items": {"allOf": [{"not": {"type": "object"}}] * 1000}}),
        ],
        ids=["references that double", "a long enumeration", "many parts"],
    )
    def test_a_check_of_too_many_steps_ends(self, opened, schema, monkeypatch):
        monkeypatch.setattr(_bounded_json_schema, "MAX_STEPS", 20_000)
        content = json.dumps({"text": "a", "bad": [[4999]] * 2000}).encode()
        with pytest.raises(InvalidRecord) as refused:
            opened(JSON, schema, content)
        assert_refused(refused, "too-complex")

    def test_a_schema_of_too_many_parts_is_refused(self, opened):
        with pytest.raises(InvalidRecord) as refused:
            opened(JSON, page(bad={"enum": list(range(30_000))}), b'{"text": "a"}')
        assert_refused(refused, "unsafe-schema")

    def test_no_reference_to_another_server_is_fetched(self, opened, server):
        with pytest.raises(InvalidRecord) as refused:
            opened(JSON, page(text={"$ref": f"{server.url}/fetched"}), b'{"text": "a"}')
        assert_refused(refused, "not-its-schema")
        assert not [path for path in server.asked if "fetched" in path]

    def test_a_reference_to_the_schema_of_schemas_is_refused(self, opened):
        with pytest.raises(InvalidRecord) as refused:
            opened(JSON, page(bad={"$ref": DIALECT}), b'{"text": "a", "bad": {}}')
        assert_refused(refused, "unsafe-schema")

    def test_a_large_usual_value_is_read(self, opened):
        number = {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}
        content = json.dumps({"text": "a", "items": [{"x": number} for number in range(10_000)]}).encode()
        assert opened(JSON, page(items={"type": "array", "items": number}), content).content == b"a"


@pytest.mark.parametrize("envelope", [AVRO, JSON], ids=["avro", "json"])
def test_a_schema_that_is_not_listed_is_refused_without_a_request(registry, server, envelope):
    envelope = envelope.model_copy(update={"schema_ids": (2_000_000,)})
    before = len(server.asked)
    with registry.client() as schemas, pytest.raises(InvalidRecord) as refused:
        envelope.open_with(schemas, None)(b"\0\0\0\0\1abc")
    assert_refused(refused, "unlisted-schema")
    assert len(server.asked) == before


def test_a_refused_schema_is_examined_once(registry, server, opened):
    with pytest.raises(InvalidRecord):
        opened(AVRO, record(array("null")), b"\2a\0")
    number = next(n for n, each in enumerate(server.schemas, 1) if json.loads(each["schema"]) == record(array("null")))
    with registry.client() as schemas:
        opener = AVRO.open_with(schemas, None)
        before = len(server.asked)
        for _ in range(3):
            with pytest.raises(InvalidRecord) as refused:
                opener(b"\0" + number.to_bytes(4, "big") + os.urandom(20))
            assert_refused(refused, "unsafe-schema")
    assert len(server.asked) == before + 1


def _zigzag(number):
    number, content = number << 1, bytearray()
    while number >= 0x80:
        content.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*content, number])
