"""Protobuf in a Schema Registry's wire format, written by the client's own serializer, and by a file of descriptors."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest
from confluent_kafka import Message
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import struct_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from include.envelopes.base import EnvelopeContent
from include.envelopes.protobuf import ProtobufEnvelope
from include.reading.layout import RecordLayout
from include.reading.records import RecordReader
from include.refusal import InvalidRecord
from tests.support.assertions import assert_readable
from tests.support.envelope_contract import assert_opened_or_refused

F = FieldDescriptorProto
PIXELS = b"\xff\x00pixels"
WELL_KNOWN = (timestamp_pb2, wrappers_pb2, struct_pb2)


def field(name, number, kind, *, repeated=False, type_name=None, optional=False):
    made = F(name=name, number=number, type=kind, label=F.LABEL_REPEATED if repeated else F.LABEL_OPTIONAL)
    if type_name:
        made.type_name = type_name
    if optional:
        made.proto3_optional = True
        made.oneof_index = 0
    return made


def places():
    """A file that the other one imports."""
    place = DescriptorProto(name="Place", field=[field("camera", 1, F.TYPE_STRING)])
    return FileDescriptorProto(name="shop/places.proto", package="shop", syntax="proto3", message_type=[place])


def pictures():
    """Two message types, one of them within another; every kind of field."""
    picture = DescriptorProto(
        name="Picture",
        field=[
            field("image", 1, F.TYPE_BYTES),
            field("id", 2, F.TYPE_INT64),
            field("label", 3, F.TYPE_STRING, optional=True),
            field("place", 4, F.TYPE_MESSAGE, type_name=".shop.Place"),
            field("features", 5, F.TYPE_FLOAT, repeated=True),
            field("weight", 6, F.TYPE_FLOAT),
            field("kind", 7, F.TYPE_ENUM, type_name=".shop.Kind"),
            field("at", 8, F.TYPE_MESSAGE, type_name=".google.protobuf.Timestamp"),
            field("price", 9, F.TYPE_MESSAGE, type_name=".google.protobuf.DoubleValue"),
            field("counts", 10, F.TYPE_MESSAGE, repeated=True, type_name=".shop.Picture.CountsEntry"),
            field("next", 11, F.TYPE_MESSAGE, type_name=".shop.Picture"),
            field("names", 12, F.TYPE_STRING, repeated=True),
            field("good", 13, F.TYPE_BOOL),
        ],
        nested_type=[
            DescriptorProto(name="Part", field=[field("image", 1, F.TYPE_BYTES), field("id", 2, F.TYPE_INT64)]),
            DescriptorProto(
                name="CountsEntry",
                field=[field("key", 1, F.TYPE_STRING), field("value", 2, F.TYPE_INT32)],
                options={"map_entry": True},
            ),
        ],
        oneof_decl=[{"name": "_label"}],
    )
    other = DescriptorProto(name="Other", field=[field("text", 1, F.TYPE_STRING), field("id", 2, F.TYPE_STRING)])
    made = FileDescriptorProto(
        name="shop/pictures.proto",
        package="shop",
        syntax="proto3",
        dependency=["shop/places.proto", *(module.DESCRIPTOR.name for module in WELL_KNOWN[:2])],
        message_type=[picture, other],
    )
    kind = made.enum_type.add(name="Kind")
    for number, name in enumerate(("UNKNOWN", "CAT", "DOG")):
        kind.value.add(name=name, number=number)
    return made


def pool():
    made = DescriptorPool()
    for module in WELL_KNOWN:
        made.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    made.Add(places())
    made.Add(pictures())
    return made


TYPES = {
    name: GetMessageClass(pool().FindMessageTypeByName(f"shop.{name}")) for name in ("Picture", "Other", "Picture.Part")
}
Picture = TYPES["Picture"]


def picture(**fields):
    return Picture(**{"image": PIXELS, "id": 7, **fields})


@pytest.fixture
def described(tmp_path):
    """Makes an envelope of one message type, from a file as protoc writes it."""
    path = tmp_path / "shop.desc"

    def envelope(message="shop.Picture", files=None, **settings):
        path.write_bytes(FileDescriptorSet(file=files or [places(), pictures()]).SerializeToString())
        tables = {"kind": "protobuf", "content": "image", "id": "id", "message": message, "descriptor_file": str(path)}
        return ProtobufEnvelope.model_validate({**tables, **settings})

    return envelope


@pytest.fixture(scope="module")
def write(registry):
    """Writes a message as any other application does, and registers its schema with those that it imports."""
    client = SchemaRegistryClient(dict(registry.settings))

    def write(message):
        serializer = ProtobufSerializer(type(message), client)
        return serializer(message, SerializationContext("pictures", MessageField.VALUE))

    return write


@pytest.fixture
def opening(registry):
    with registry.client() as schemas:
        yield lambda envelope, label="label": envelope.open_with(schemas, label)


REGISTERED = ProtobufEnvelope(content="image", id="id", group="place.camera")


def test_fields_are_read_by_the_registry_s_schema_and_those_that_it_imports(write, opening):
    value = write(picture(label="cat", place={"camera": "c1"}))

    assert opening(REGISTERED)(value) == EnvelopeContent(PIXELS, b"7", b"c1", "cat")


@pytest.mark.parametrize("name", ["Other", "Picture.Part"])
def test_the_message_indexes_choose_the_type_in_the_schema_s_file(write, opening, name):
    content = {"text": "hello", "id": "x"} if name == "Other" else {"image": b"part", "id": 3}
    envelope = ProtobufEnvelope(content="text" if name == "Other" else "image", id="id")

    found = opening(envelope, None)(write(TYPES[name](**content)))

    assert found == (EnvelopeContent(b"hello", b"x") if name == "Other" else EnvelopeContent(b"part", b"3"))


BAD = {
    "no bytes": (lambda _: b"", "empty"),
    "no magic byte": (lambda value: value[6:], "no-wire-format"),
    "a prefix alone": (lambda value: value[:5], "no-wire-format"),
    "an unknown id": (lambda value: b"\0" + (2**31 - 1).to_bytes(4, "big") + value[5:], "unknown-schema"),
    "cut short": (lambda value: value[:-3], "not-its-schema"),
    "an index beyond the file": (lambda value: value[:5] + b"\x02\x7e" + value[6:], "not-its-schema"),
    "a negative index": (lambda value: value[:5] + b"\x02\x01" + value[6:], "not-its-schema"),
    "a million indexes": (lambda value: value[:5] + b"\x80\x89\x7a" + bytes(100), "not-its-schema"),
    "an index without end": (lambda value: value[:5] + b"\xff" * 100_000, "not-its-schema"),
    "text that is not UTF-8": (lambda value: value + b"\x1a\x01\xff", "not-its-schema"),
    "10,000 levels": (lambda value: value + nested(10_000), "not-its-schema"),
}


def nested(levels):
    """Field `next` of a picture within another, `levels` times."""
    content = b""
    for _ in range(levels):
        length, size = len(content), b""
        while length >= 0x80:
            size += bytes([length & 0x7F | 0x80])
            length >>= 7
        content = b"\x5a" + size + bytes([length]) + content
    return content


@pytest.mark.parametrize(("change", "reason"), BAD.values(), ids=BAD)
def test_a_value_in_another_format_is_refused_with_its_reason(write, opening, change, reason):
    opened, value = opening(REGISTERED), write(picture(place={"camera": "c1"}, label="cat"))

    with pytest.raises(InvalidRecord) as refused:
        opened(change(value))

    assert refused.value.refusal.reason == reason
    assert_readable(refused.value)


def test_an_id_and_indexes_in_a_header_stand_before_the_value(write, opening):
    value = write(picture(place={"camera": "c1"}))
    envelope = REGISTERED.model_copy(update={"id_header": "__value_schema_id"})

    joined = envelope.with_schema_id(value[:6], value[6:])

    assert opening(envelope)(joined).content == PIXELS
    for header in (b"", value[:5], b"\x01" + bytes(16), b"\x02" + bytes(20)):
        with pytest.raises(InvalidRecord) as refused:
            envelope.with_schema_id(header, value[6:])
        assert refused.value.refusal.reason == "no-wire-format"
        assert_readable(refused.value)


ROW = {"content": None, "content_is": "row", "columns": ("weight", "kind", "good")}
DEFAULTS = {"weight": 0, "kind": "UNKNOWN", "good": False}


def test_a_message_of_no_bytes_after_its_id_in_a_header_has_its_defaults(registry, write):
    value = write(Picture())
    headers = [("schema-id", value)]
    envelope = ProtobufEnvelope(**ROW, id="id", id_header="schema-id")
    records = [
        Message(topic="pictures", partition=0, offset=offset, value=value, headers=headers)
        for offset, (value, headers) in enumerate([(b"", headers), (value, []), (None, headers), (b"", [])])
    ]
    with registry.client() as schemas:
        found = RecordReader(RecordLayout(envelope=envelope), "row/1", schemas=schemas).read(records)

    assert [json.loads(content) for content in found.contents[:2]] == [DEFAULTS] * 2
    assert found.ids[:2] == [b"0"] * 2
    assert [label.reason for label in found.labels[2:]] == ["empty"] * 2


def test_a_registry_that_has_the_text_alone_is_named(server, registry, write, opening):
    value = write(picture(place={"camera": "c1"}))
    schema = server.schemas[int.from_bytes(value[1:5], "big") - 1]
    text, schema["schema"] = schema["schema"], 'syntax = "proto3"; message Picture {}'
    try:
        with pytest.raises(InvalidRecord, match="descriptor_file") as refused:
            opening(REGISTERED)(value)
    finally:
        schema["schema"] = text
    assert refused.value.refusal.reason == "not-its-schema"


@pytest.mark.parametrize("framed", [False, True])
def test_fields_are_read_by_a_file_of_descriptors(described, write, framed):
    message = picture(label="cat", place={"camera": "c1"})
    value = write(message) if framed else message.SerializeToString()
    opened = described(group="place.camera").open_with(None, "label")

    assert opened(value) == EnvelopeContent(PIXELS, b"7", b"c1", "cat")


def test_a_plain_message_of_no_bytes_has_its_defaults(described):
    envelope = described(**ROW)
    opened = envelope.open_with(None, "label")

    found = opened(picture(id=0, image=b"").SerializeToString())

    assert found == opened(b"") == EnvelopeContent(found.content, b"0")
    assert json.loads(found.content) == DEFAULTS
    with pytest.raises(InvalidRecord) as refused:
        opened(None)
    assert refused.value.refusal.reason == "empty"


def test_of_versions_a_message_of_no_bytes_is_no_deletion(described):
    opened = described(**ROW, newest_of="key").open_with(None, None)

    assert json.loads(opened(b"").content) == DEFAULTS
    assert opened(None) == EnvelopeContent(None, deleted=True)


def test_a_message_of_no_bytes_lacks_its_required_fields(described):
    needed = F(name="image", number=1, type=F.TYPE_BYTES, label=F.LABEL_REQUIRED)
    file = FileDescriptorProto(
        name="shop/old.proto",
        package="shop",
        syntax="proto2",
        message_type=[DescriptorProto(name="Old", field=[needed])],
    )
    with pytest.raises(InvalidRecord, match="image") as refused:
        described(message="shop.Old", files=[file], id=None).open_with(None, None)(b"")
    assert refused.value.refusal.reason == "not-its-schema"
    assert_readable(refused.value)


def test_another_type_of_the_same_file_is_refused(described, write):
    with pytest.raises(InvalidRecord, match="message indexes") as refused:
        described().open_with(None, None)(write(TYPES["Other"](text="x")))
    assert refused.value.refusal.reason == "not-its-schema"
    assert_readable(refused.value)


def test_google_s_own_files_need_not_be_in_the_file(described):
    value = picture(at=datetime(2026, 6, 1, tzinfo=UTC)).SerializeToString()
    assert described(group="at").open_with(None, None)(value).group == b"2026-06-01T00:00:00+00:00"


def test_a_repeated_field_is_a_list_of_numbers(described):
    value = picture(features=[0.5, -1, 2]).SerializeToString()
    opened = described(content="features", content_is="numbers").open_with(None, None)

    assert json.loads(opened(value).content) == [0.5, -1, 2]


@pytest.mark.parametrize(
    ("fields", "path", "text"),
    [
        ({"label": "cat"}, "label", "cat"),
        ({"label": ""}, "label", ""),
        ({}, "label", None),
        ({"weight": 0.1}, "weight", "0.1"),
        ({"weight": 16777216}, "weight", "16777216"),
        ({}, "weight", "0"),
        ({"kind": 2}, "kind", "DOG"),
        ({}, "kind", "UNKNOWN"),
        ({"kind": 77}, "kind", "77"),
        ({"good": True}, "good", "true"),
        ({"names": ["a", "b"]}, "names", '["a", "b"]'),
        ({"price": {"value": 2.5}}, "price", "2.5"),
        ({}, "price", None),
        ({"counts": {"a": 3}}, "counts.a", "3"),
        ({"next": {"next": {"label": "deep"}}}, "next.next.label", "deep"),
        ({"place": {}}, "place.camera", ""),
        ({}, "place.camera", None),
    ],
)
def test_a_typed_field_has_one_text(described, fields, path, text):
    value = Picture(image=PIXELS, id=7, **fields).SerializeToString()
    assert described().open_with(None, path)(value).label == text


def test_the_columns_of_a_row_are_fields_of_the_message(described):
    columns = ("weight", "place.camera", "kind", "price", "good")
    envelope = described(content=None, content_is="row").with_columns(columns)
    value = picture(weight=0.1, place={"camera": "c1"}, kind=1).SerializeToString()

    assert json.loads(envelope.open_with(None, None)(value).content) == {
        "weight": 0.1,
        "place.camera": "c1",
        "kind": "CAT",
        "good": False,
    }


def test_a_time_beyond_the_calendar_is_refused(described):
    message = picture()
    message.at.seconds = 10**15
    with pytest.raises(InvalidRecord) as refused:
        described(group="at").open_with(None, None)(message.SerializeToString())
    assert refused.value.refusal.reason == "not-its-schema"


def test_a_manifest_keeps_the_descriptors_when_the_file_changes(described):
    layout = RecordLayout(envelope=described())
    stored = layout.model_dump(mode="json")
    described(files=[places()], message="shop.Place")  # another file at the path

    again = RecordLayout.model_validate(stored)

    assert again == layout
    assert again.envelope.open_with(None, None)(picture().SerializeToString()).content == PIXELS


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"message": None}, "go together"),
        ({"message": "shop.Nothing"}, "shop.Other, shop.Picture"),
        ({"descriptor_file": "no/such.desc"}, "no/such.desc"),
        ({"files": [pictures()]}, "include_imports"),
        ({"id_header": "__value_schema_id"}, "id_header"),
    ],
)
def test_a_file_that_does_not_describe_the_message_is_refused(described, settings, named):
    with pytest.raises(ValidationError, match=named):
        described(**settings)


def test_a_file_that_is_none_of_descriptors_is_refused(tmp_path):
    (tmp_path / "x.desc").write_bytes(b'syntax = "proto3";')
    settings = {"content": "image", "message": "shop.Picture", "descriptor_file": str(tmp_path / "x.desc")}
    with pytest.raises(ValidationError, match="include_imports"):
        ProtobufEnvelope.model_validate(settings)


def test_without_a_file_it_needs_a_registry(described):
    assert REGISTERED.needs_registry
    assert not described().needs_registry


@given(st.binary() | st.binary().map(lambda tail: picture(label="cat").SerializeToString() + tail))
def test_any_bytes_are_opened_or_refused(value):
    descriptors = FileDescriptorSet(file=[places(), pictures()]).SerializeToString()
    settings = {"content": "image", "id": "id", "message": "shop.Picture"}
    envelope = ProtobufEnvelope.model_validate({**settings, "descriptors": base64.b64encode(descriptors).decode()})
    assert_opened_or_refused(envelope.open_with(None, "label"), value)
