"""Avro and JSON Schema in a Schema Registry's wire format, written by the client's own serializers."""

from __future__ import annotations

import io
import json
import os
from contextlib import contextmanager
from typing import ClassVar
from uuid import UUID

import fastavro
import numpy as np
import pytest
from confluent_kafka import Message
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from include.codecs.text_tensor import TextTensorCodec
from include.envelopes.avro import AvroEnvelope, NoSuchSchema
from include.envelopes.base import EnvelopeContent
from include.envelopes.json_object import JsonEnvelope
from include.envelopes.json_schema import JsonSchemaEnvelope
from include.kafka.schema_registry import RegistryAway, RegistryRefused, SchemaRegistry, registry_at
from include.reading.layout import RecordLayout
from include.reading.records import RecordReader
from include.refusal import InvalidRecord
from tests.support.assertions import assert_readable
from tests.support.envelope_contract import assert_opened_or_refused
from tests.support.registry_server import USER

IMAGE, ID = {"name": "image", "type": "bytes"}, {"name": "id", "type": "long"}
LABEL = {"name": "label", "type": ["null", "string"], "default": None}
CAMERA = {"name": "camera", "type": "string", "default": "unknown"}
PIXELS = b"\xff\x00pixels"


def avro_schema(*fields):
    return json.dumps({"type": "record", "name": "Picture", "fields": list(fields)})


JSON_SCHEMA = json.dumps(
    {
        "title": "Picture",
        "type": "object",
        "properties": {"image": {"type": "string"}, "id": {"type": "integer"}, "label": {"type": "string"}},
        "required": ["image", "id"],
    }
)


@pytest.fixture(scope="module")
def registry(registry):
    """The test's own server, or the real one named by the environment."""
    url = os.environ.get("MILLRACE_TEST_REGISTRY")
    return registry if url is None else registry_at(url)


@pytest.fixture(scope="module")
def write(registry):
    """Writes a value as any other application does, and registers its schema."""
    client = SchemaRegistryClient(dict(registry.settings))

    def write(fields, schema):
        avro = json.loads(schema)["type"] == "record"
        serializer = AvroSerializer(client, schema) if avro else JSONSerializer(schema, client)
        # A registry has one type of schema for a topic.
        topic = f"pictures-{'avro' if avro else 'json'}"
        return serializer(fields, SerializationContext(topic, MessageField.VALUE))

    return write


@pytest.fixture
def opening(registry):
    """Makes an opener of values; its client is closed after the test."""
    with registry.client() as schemas:
        yield lambda envelope, label="label": envelope.open_with(schemas, label)


def _message(value, headers):
    return Message(topic="pictures", partition=0, offset=0, value=value, headers=headers)


AVRO = AvroEnvelope(content="image", id="id")
JSON = JsonSchemaEnvelope(content="image", content_is="base64", id="id")


def id_of(value):
    return int.from_bytes(value[1:5], "big")


def test_avro_fields_are_read(write, opening):
    value = write({"image": PIXELS, "id": 7, "label": "cat"}, avro_schema(IMAGE, ID, LABEL))

    assert opening(AVRO)(value) == EnvelopeContent(PIXELS, b"7", None, "cat")


def test_json_fields_are_read(write, opening):
    value = write({"image": "/wBwaXhlbHM=", "id": 7, "label": "cat"}, JSON_SCHEMA)

    assert opening(JSON)(value) == EnvelopeContent(PIXELS, b"7", None, "cat")


def test_a_field_that_is_added_changes_nothing(write, opening):
    opened = opening(AVRO)

    before = opened(write({"image": PIXELS, "id": 7, "label": "cat"}, avro_schema(IMAGE, ID, LABEL)))
    after = opened(
        write({"image": PIXELS, "id": 7, "label": "cat", "camera": "c1"}, avro_schema(IMAGE, ID, LABEL, CAMERA))
    )

    assert before == after


def test_a_removed_field_is_missing_without_a_reader_s_schema(write, opening):
    opened = opening(AVRO.model_copy(update={"group": "camera"}))
    with_field = write({"image": PIXELS, "id": 7, "camera": "c1"}, avro_schema(IMAGE, ID, CAMERA))
    without = write({"image": PIXELS, "id": 7}, avro_schema(IMAGE, ID))

    assert opened(with_field).group == b"c1"
    with pytest.raises(InvalidRecord) as refused:
        opened(without)
    assert refused.value.refusal.reason == "missing-field"


def test_a_removed_field_has_its_default_with_a_reader_s_schema(write, opening):
    with_field = write({"image": PIXELS, "id": 7, "camera": "c1"}, avro_schema(IMAGE, ID, CAMERA))
    without = write({"image": PIXELS, "id": 7}, avro_schema(IMAGE, ID))
    opened = opening(AVRO.model_copy(update={"group": "camera", "reader_schema": id_of(with_field)}))

    assert opened(with_field).group == b"c1"
    assert opened(without).group == b"unknown"


def test_a_value_that_does_not_resolve_to_the_reader_s_schema_is_refused(write, opening):
    reader = write({"image": PIXELS, "id": 7, "size": 3}, avro_schema(IMAGE, ID, {"name": "size", "type": "int"}))
    opened = opening(AVRO.model_copy(update={"reader_schema": id_of(reader)}))

    with pytest.raises(InvalidRecord) as refused:
        opened(write({"image": PIXELS, "id": 7}, avro_schema(IMAGE, ID)))
    assert refused.value.refusal.reason == "not-its-schema"


def test_a_missing_reader_s_schema_is_refused_at_once(opening):
    with pytest.raises(NoSuchSchema) as refused:
        opening(AVRO.model_copy(update={"reader_schema": 2_000_000}))
    assert_readable(refused.value, 2_000_000)


BAD = {
    "nothing": (lambda _: None, "empty"),
    "no bytes": (lambda _: b"", "empty"),
    "another magic byte": (lambda value: b"\x02" + value[1:], "no-wire-format"),
    "no magic byte": (lambda _: b'{"image": ""}', "no-wire-format"),
    "a prefix alone": (lambda value: value[:5], "no-wire-format"),
    "an unknown id": (lambda value: b"\0" + (2**31 - 1).to_bytes(4, "big") + value[5:], "unknown-schema"),
}


@pytest.mark.parametrize(("change", "reason"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("kind", ["avro", "json-schema"])
def test_a_value_in_another_format_is_refused_with_its_reason(write, opening, kind, change, reason):
    if kind == "avro":
        opened, value = opening(AVRO), write({"image": PIXELS, "id": 7}, avro_schema(IMAGE, ID))
    else:
        opened, value = opening(JSON), write({"image": "AAAA", "id": 7}, JSON_SCHEMA)

    with pytest.raises(InvalidRecord) as refused:
        opened(change(value))

    assert refused.value.refusal.reason == reason
    assert_readable(refused.value)


@pytest.mark.parametrize(
    "change",
    [lambda value: value[:-3], lambda value: value[:5] + b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f"],
    ids=["cut short", "a length beyond its end"],
)
def test_avro_that_its_schema_does_not_describe_is_refused(write, opening, change):
    value = write({"image": PIXELS, "id": 7}, avro_schema(IMAGE, ID))

    with pytest.raises(InvalidRecord) as refused:
        opening(AVRO)(change(value))

    assert refused.value.refusal.reason == "not-its-schema"
    assert_readable(refused.value)


def test_a_value_deeper_than_the_stack_does_not_end_the_process(write, opening):
    tree = {
        "name": "tree",
        "type": {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]},
    }
    value = write({"image": PIXELS, "id": 7, "tree": {"next": {"next": None}}}, avro_schema(IMAGE, ID, tree))
    opened = opening(AVRO, None)

    assert opened(value) == EnvelopeContent(PIXELS, b"7")
    with pytest.raises(InvalidRecord) as refused:
        opened(value[:-3] + b"\x02" * 1_000_000 + b"\0")

    assert refused.value.refusal.reason == "not-its-schema"


def test_a_schema_of_another_type_is_refused(write, opening):
    with pytest.raises(InvalidRecord) as refused:
        opening(AVRO)(write({"image": "AAAA", "id": 7}, JSON_SCHEMA))
    assert refused.value.refusal.reason == "wrong-schema-type"


@pytest.mark.parametrize(
    "content",
    [
        b'{"id": 7}',
        b'{"image": 7, "id": 7}',
        b'{"image": "AAAA", "id": 7.5}',
        b'{"image": "", "id": %s}' % (b"7" * 5000),
    ],
    ids=["a field too few", "another type", "no integer", "5000 digits"],
)
def test_json_that_is_invalid_by_its_schema_is_refused(write, opening, content):
    prefix = write({"image": "AAAA", "id": 7}, JSON_SCHEMA)[:5]

    with pytest.raises(InvalidRecord) as refused:
        opening(JSON)(prefix + content)
    assert refused.value.refusal.reason == "not-its-schema"
    assert_readable(refused.value)


NO_JSON = {
    "a key twice": b'{"image": "AAAA", "id": 7, "label": "cat", "label": "dog"}',
    "a key twice, deeper": b'{"image": "AAAA", "id": 7, "more": [{"x": 1, "x": 1}]}',
    "NaN": b'{"image": "AAAA", "id": 7, "x": NaN}',
    "infinity": b'{"image": "AAAA", "id": 7, "x": -Infinity}',
    "UTF-16": '{"image": "AAAA", "id": 7}'.encode("utf-16-le"),
    "UTF-16 with its mark": '{"image": "AAAA", "id": 7}'.encode("utf-16"),
    "UTF-8 with a mark": '{"image": "AAAA", "id": 7}'.encode("utf-8-sig"),
    "no UTF-8": b'{"image": "AAAA", "id": 7, "label": "\xff"}',
    "100,000 levels": b"[" * 100_000,
    "two objects": b"{}{}",
    "cut short": b'{"image": "AAAA", "id',
}


@pytest.mark.parametrize("content", NO_JSON.values(), ids=NO_JSON)
def test_what_is_no_json_is_refused_as_the_envelope_json_refuses_it(write, opening, content):
    prefix = write({"image": "AAAA", "id": 7}, JSON_SCHEMA)[:5]

    with pytest.raises(InvalidRecord) as refused:
        opening(JSON)(prefix + content)
    with pytest.raises(InvalidRecord) as expected:
        JsonEnvelope(content="image", content_is="base64", id="id").open_with(None, "label")(content)

    assert refused.value.refusal == expected.value.refusal
    assert refused.value.refusal.reason in ("invalid-json", "invalid-utf8")


@pytest.mark.parametrize(("number", "text"), [("7", b"7"), ("7.0", b"7"), ("7e0", b"7"), (str(2**80), b"%d" % 2**80)])
def test_a_number_is_checked_by_the_schema_as_one(write, opening, number, text):
    prefix = write({"image": "AAAA", "id": 7}, JSON_SCHEMA)[:5]

    assert opening(JSON)(prefix + b'{"image": "AAAA", "id": %s}' % number.encode()).id == text


@given(st.binary(), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_after_a_known_id_are_opened_or_refused(write, opening, content, is_avro):
    value = (
        write({"image": PIXELS, "id": 7}, avro_schema(IMAGE, ID, LABEL))
        if is_avro
        else write({"image": "AAAA", "id": 7}, JSON_SCHEMA)
    )

    assert_opened_or_refused(opening(AVRO if is_avro else JSON), value[:5] + content)


@contextmanager
def failing(server, status):
    server.status = status
    try:
        yield
    finally:
        server.status = 200


@pytest.mark.skipif("MILLRACE_TEST_REGISTRY" in os.environ, reason="a real registry does not fail on request")
class TestFailures:
    """A failure of the registry is no refusal of a record, which must not become a dead letter."""

    @pytest.mark.parametrize(
        ("status", "error"), [(503, RegistryAway), (500, RegistryAway), (404, RegistryAway), (403, RegistryRefused)]
    )
    def test_an_invalid_answer_is_no_refusal_of_the_record(self, server, registry, write, status, error):
        value = write({"image": PIXELS, "id": 7}, avro_schema(IMAGE, ID))
        once = SchemaRegistry({**registry.settings, "max.retries": 0})
        with failing(server, status), once.client() as schemas, pytest.raises(error) as failed:
            AVRO.open_with(schemas, None)(value)
        assert_readable(failed.value, registry.url, id_of(value))

    def test_an_unreachable_registry_is_no_refusal_of_the_record(self, registry, no_broker):
        port = no_broker.bootstrap_servers.rpartition(":")[2]
        away = SchemaRegistry({**registry.settings, "url": f"http://127.0.0.1:{port}", "max.retries": 0})
        with away.client() as schemas, pytest.raises(RegistryAway) as failed:
            AVRO.open_with(schemas, None)(b"\0\0\0\0\1abc")
        assert_readable(failed.value, port)

    def test_a_wrong_password_is_reported_and_not_shown(self, server):
        registry = registry_at(server.url, login="millrace", password="not-the-password")  # noqa: S106 - nobody's
        with registry.client() as schemas, pytest.raises(RegistryRefused) as refused:
            AVRO.open_with(schemas, None)(b"\0\0\0\0\1abc")
        assert_readable(refused.value, server.url)
        assert "not-the-password" not in f"{refused.value}{registry!r}"

    def test_a_password_in_its_url_works_and_is_not_logged(self, server, write, caplog):
        value = write({"image": PIXELS, "id": 7}, avro_schema(IMAGE, ID))
        registry = registry_at(server.url.replace("://", f"://{USER}@"))
        with caplog.at_level("DEBUG"), registry.client() as schemas:
            assert AVRO.open_with(schemas, None)(value).content == PIXELS
        assert "/schemas/ids/" in caplog.text
        assert "a-registry-s-password" not in caplog.text
        assert "a-registry-s-password" in registry.secrets

    def test_an_unknown_id_is_requested_once(self, server, opening):
        opened = opening(AVRO)
        before = len(server.asked)
        for _ in range(5):
            with pytest.raises(InvalidRecord):
                opened(b"\0\0\1\0\0abc")
        assert len(server.asked) == before + 1


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({"host": "https://registry:8081"}, "https://registry:8081"),
        ({"host": "registry", "port": 8081}, "http://registry:8081"),
        ({"host": "registry", "scheme": "https"}, "https://registry"),
        ({"host": "http://user:secret@registry"}, "http://registry"),
    ],
)
def test_a_connection_has_the_registry_s_url(settings, url):
    assert registry_at(settings.pop("host"), **settings).url == url


def test_a_connection_without_a_host_is_refused():
    with pytest.raises(RegistryRefused) as refused:
        registry_at(None)
    assert_readable(refused.value)


@pytest.mark.parametrize("form", ["id", "GUID", "four bytes", "eight bytes", "in the value"])
def test_a_schema_s_id_may_be_in_a_header(registry, write, form):
    value = write({"image": PIXELS, "id": 7, "label": "cat"}, avro_schema(IMAGE, ID, LABEL))
    header = {
        "id": value[:5],
        "GUID": b"\1" + UUID(int=id_of(value)).bytes,
        "four bytes": value[1:5],
        "eight bytes": bytes(4) + value[1:5],
    }.get(form)
    layout = RecordLayout(envelope=AVRO.model_copy(update={"id_header": "schema-id"}))
    records = [_message(value[5:] if header else value, [("schema-id", header)] if header else [])]
    with registry.client() as schemas:
        found = RecordReader(layout, "tensor.raw/1", schemas=schemas).read(records)

    assert (found.contents, found.ids) == ([PIXELS], [b"7"])


@pytest.mark.parametrize("header", [b"", b"7", b"\2\0\0\0\1", b"\xff" * 8])
def test_a_header_that_has_no_schema_s_id_is_refused(registry, header):
    layout = RecordLayout(envelope=AVRO.model_copy(update={"id_header": "schema-id"}))
    with registry.client() as schemas:
        found = RecordReader(layout, "tensor.raw/1", schemas=schemas).read([_message(b"abc", [("schema-id", header)])])

    (refusal,) = found.labels
    assert refusal.reason == "no-wire-format"


@pytest.mark.parametrize("envelope", [AVRO, JSON], ids=["avro", "json-schema"])
@pytest.mark.parametrize("value", [None, b""])
def test_a_record_with_its_schema_s_id_alone_is_empty(registry, envelope, value):
    header = [("schema-id", b"\0\0\0\0\1")]
    layout = RecordLayout(envelope=envelope.model_copy(update={"id_header": "schema-id"}))
    with registry.client() as schemas:
        found = RecordReader(layout, "tensor.raw/1", schemas=schemas).read([_message(value, header)])

    assert [label.reason for label in found.labels] == ["empty"]


class TestSchemaOfThePipeline:
    """Avro without a registry."""

    SCHEMA = avro_schema(IMAGE, ID, LABEL)
    FIELDS: ClassVar = {"image": PIXELS, "id": 7, "label": "cat"}

    @pytest.fixture
    def envelope(self, tmp_path):
        (tmp_path / "picture.avsc").write_text(self.SCHEMA)
        return AvroEnvelope(content="image", id="id", schema_file=str(tmp_path / "picture.avsc"))

    @pytest.fixture
    def value(self):
        buffer = io.BytesIO()
        fastavro.schemaless_writer(buffer, fastavro.parse_schema(json.loads(self.SCHEMA)), self.FIELDS)
        return buffer.getvalue()

    def test_plain_and_single_object_values_are_read(self, envelope, value):
        form = fastavro.schema.to_parsing_canonical_form(json.loads(self.SCHEMA))
        mark = b"\xc3\x01" + bytes.fromhex(fastavro.schema.fingerprint(form, "CRC-64-AVRO"))

        opened = envelope.open_with(None, "label")

        assert not envelope.needs_registry
        assert opened(value) == opened(mark + value) == EnvelopeContent(PIXELS, b"7", None, "cat")

    def test_a_manifest_keeps_the_schema_that_the_file_had(self, envelope, value, tmp_path):
        stored = envelope.model_dump(mode="json")
        (tmp_path / "picture.avsc").unlink()

        assert AvroEnvelope.model_validate(stored).open_with(None, None)(value).content == PIXELS

    @pytest.mark.parametrize(
        "change",
        [lambda v: v[:-3], lambda v: v + b"\0", lambda v: b"\0\0\0\0\1" + v, lambda _: b"\xfe\xff\xff\xff\x7f"],
        ids=["cut short", "with a byte more", "in the wire format", "a length beyond its end"],
    )
    def test_what_the_schema_does_not_describe_is_refused(self, envelope, value, change):
        with pytest.raises(InvalidRecord) as refused:
            envelope.open_with(None, None)(change(value))
        assert refused.value.refusal.reason == "not-its-schema"
        assert_readable(refused.value)

    @given(content=st.binary())
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_any_bytes_are_opened_or_refused(self, envelope, content):
        assert_opened_or_refused(envelope.open_with(None, "label"), content)

    def test_a_list_of_numbers_is_content_for_the_text_format(self):
        schema = avro_schema({"name": "x", "type": {"type": "array", "items": "float"}})
        buffer = io.BytesIO()
        fastavro.schemaless_writer(buffer, fastavro.parse_schema(json.loads(schema)), {"x": [0.1, -2.0, 3e5]})
        envelope = AvroEnvelope(content="x", content_is="numbers", avro_schema=schema)
        codec = TextTensorCodec(shape=(3,), dtype="float32")

        decoded = codec.decode([envelope.open_with(None, None)(buffer.getvalue()).content])

        assert decoded.samples.tolist() == [[float(np.float32(0.1)), -2.0, 3e5]]

    @pytest.mark.parametrize(
        "settings", [{"schema_file": "no/such/file.avsc"}, {"avro_schema": "{"}, {"avro_schema": '{"type": "nothing"}'}]
    )
    def test_a_schema_that_is_none_is_a_fault_of_the_file(self, settings):
        with pytest.raises(ValidationError):
            AvroEnvelope(content="image", **settings)
