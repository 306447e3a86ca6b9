"""Records in Protobuf, by schemas of a Schema Registry, or by descriptors that the pipeline has."""

from __future__ import annotations

import binascii
from base64 import b64encode
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema  # noqa: TC002 - pydantic evaluates it

from include.envelopes._protobuf_messages import field_reader, indexes_of, message_type, pool_of, read_indexes
from include.envelopes._registered import (
    GUID_MAGIC,
    GUID_PREFIX_BYTES,
    MAGIC,
    PREFIX_BYTES,
    RegisteredEnvelope,
    schema_id_of,
    with_file,
)
from include.envelopes.base import Open, unset
from include.errors import one_line
from include.kafka.schema_registry import Schemas
from include.refusal import InvalidRecord

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import Schema
    from google.protobuf.descriptor import Descriptor, FileDescriptor
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    Read = Callable[[bytes], dict[str, Any]]

# That a schema of the registry refers to.
MAX_FILES = 1000


class ProtobufEnvelope(RegisteredEnvelope):
    """A Protobuf message. In the registry's wire format the path of its type in the schema's file precedes it.

    A field that is not set and has no presence has its default, as Protobuf says: 0, the empty text.

    Args:
        descriptor_file: a file of descriptors (`protoc --include_imports --descriptor_set_out`), by a path relative to
            the project; no registry is needed then, and values are plain messages, or in the registry's wire format.
        message: the full name of the message type in that file, `shop.Product` for instance.
        descriptors: the content of that file in base64; a manifest has it, so that a file that changes changes no old
            training.
    """

    kind: Literal["protobuf"] = "protobuf"
    descriptor_file: Annotated[str, Field(min_length=1)] | None = unset()
    descriptors: SkipJsonSchema[str | None] = unset()
    message: Annotated[str, Field(min_length=1)] | None = unset()

    @model_validator(mode="before")
    @classmethod
    def _read_file(cls, values: Any) -> Any:
        return with_file(values, "descriptor_file", "descriptors", lambda content: b64encode(content).decode())

    @model_validator(mode="after")
    def _has_its_message(self) -> ProtobufEnvelope:
        if (self.descriptors is None) != (self.message is None):
            raise ValueError("descriptor_file and message go together; set both, or neither for a Schema Registry")
        if self.descriptors is not None:
            _described(self.descriptors, self.message or "")
        return self

    @field_validator("message")
    @classmethod
    def _without_header(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("id_header") is not None:
            raise ValueError("id_header is of a Schema Registry; remove it, or descriptor_file and message")
        return value

    @property
    def needs_registry(self) -> bool:
        return self.descriptors is None

    def with_schema_id(self, schema_id: bytes, value: bytes) -> bytes:
        least = {MAGIC: PREFIX_BYTES, GUID_MAGIC: GUID_PREFIX_BYTES}.get(schema_id[0] if schema_id else -1)
        if least is None or len(schema_id) <= least:
            raise InvalidRecord(
                "no-wire-format",
                f"The header {self.id_header} has {schema_id[:20].hex(' ')}, and no schema's id with message indexes.",
            )
        return schema_id + value

    def open_with(self, schemas: Schemas | None, label: str | None) -> Open:
        names = self._names(label)
        if self.descriptors is not None:
            read = _reading(_described(self.descriptors, self.message or ""), names)
            # A message whose fields all have their defaults has no bytes.
            return self.field_opener(read, label, may_be_empty=True)
        if schemas is None:
            raise ValueError("Protobuf needs a Schema Registry, and schemas is None.")

        def reading(schema: Schema) -> Read:
            file = _registered_file(schemas, schema)
            readers: dict[tuple[int, ...], Read] = {}

            def read(content: bytes) -> dict[str, Any]:
                indexes, start = read_indexes(content, 0)
                if indexes not in readers:
                    readers[indexes] = field_reader(message_type(file, indexes), names)
                return readers[indexes](content[start:])

            return read

        return self.registered_opener(schemas, "PROTOBUF", reading, label)

    def _names(self, label: str | None) -> frozenset[str]:
        """The fields of a message that are needed."""
        paths = [self.content, self.id, self.group, label]
        if self.deleted is not None:
            paths += [self.deleted.field, self.deleted.id]
        if self.content is None:
            paths += self.columns
        return frozenset(part for path in paths if path for part in (path, path.partition(".")[0]))


def _described(descriptors: str, message: str) -> Descriptor:
    """The message type in a file of descriptors.

    Raises:
        ValueError: the file has none of the name, or is no file of descriptors.
    """
    from google.protobuf.descriptor_pb2 import FileDescriptorSet
    from google.protobuf.message import DecodeError

    try:
        files = FileDescriptorSet.FromString(binascii.a2b_base64(descriptors)).file
        pool = pool_of(files)
    except (DecodeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"descriptor_file holds no complete set of descriptors ({one_line(error)}); write it with protoc "
            "--include_imports --descriptor_set_out"
        ) from error
    try:
        return pool.FindMessageTypeByName(message)
    except KeyError as error:
        known = sorted(f"{file.package}.{item.name}".lstrip(".") for file in files for item in file.message_type)
        raise ValueError(
            f"message = {message!r} is not in descriptor_file, which has {', '.join(known[:10])}"
        ) from error


def _reading(descriptor: Descriptor, names: frozenset[str]) -> Read:
    """What reads a plain message, or one in the registry's wire format: no message begins with its first byte."""
    read, own = field_reader(descriptor, names), indexes_of(descriptor)

    def parse(value: bytes) -> dict[str, Any]:
        try:
            if not value or value[0] not in (MAGIC, GUID_MAGIC):
                return read(value)
            indexes, start = read_indexes(value, schema_id_of(value)[1])
            if indexes != own:
                raise ValueError(  # noqa: TRY301 - one refusal for all
                    f"its message indexes are {list(indexes)}, and those of {descriptor.full_name} {list(own)}"
                )
            return read(value[start:])
        except (InvalidRecord, MemoryError):
            raise
        except Exception as error:
            # The parser raises whatever the bytes lead it to.
            raise InvalidRecord(
                "not-its-schema", f"{len(value)} bytes can't be read as {descriptor.full_name} ({one_line(error)})."
            ) from error

    return parse


def _registered_file(schemas: Schemas, schema: Schema) -> FileDescriptor:
    """The file that a schema of the registry describes, with those that it refers to."""
    own = "schema-of-the-value.proto"
    files = {own: _descriptor_of(schema, own)}
    waiting = list(schema.references or [])
    while waiting and len(files) < MAX_FILES:
        reference = waiting.pop()
        name, subject, version = reference.name, reference.subject, reference.version
        if name is None or subject is None or version is None or name in files:
            continue
        found = schemas.client.get_version(subject, version, deleted=True, fmt="serialized").schema
        files[name] = _descriptor_of(found, name)
        waiting += found.references or []
    return pool_of(files.values()).FindFileByName(own)


def _descriptor_of(schema: Schema, name: str) -> FileDescriptorProto:
    from google.protobuf.descriptor_pb2 import FileDescriptorProto
    from google.protobuf.message import DecodeError

    try:
        file = FileDescriptorProto.FromString(binascii.a2b_base64(schema.schema_str or "", strict_mode=True))
    except (ValueError, DecodeError) as error:
        raise ValueError(
            f"the registry returns the text of {name} and no descriptor: set descriptor_file and message"
        ) from error
    file.name = name
    return file
