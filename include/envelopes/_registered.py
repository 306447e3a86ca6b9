"""Base of the envelopes with a Schema Registry: its wire format, and the refusal for each failure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from pydantic import Field

from include.envelopes._fields import FieldEnvelope
from include.envelopes.base import Open, unset
from include.errors import MillraceError, one_line
from include.kafka.schema_registry import Schemas
from include.refusal import InvalidRecord, Refusal
from include.storage.state import PROJECT_ROOT

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import Schema


MAGIC = 0
PREFIX_BYTES = 5
GUID_MAGIC = 1
GUID_PREFIX_BYTES = 17
READERS_KEPT = 1000
# The file of a large company's whole repository has some megabytes.
MAX_FILE_BYTES = 16 * 2**20

SchemaName = Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]


class RegisteredEnvelope(FieldEnvelope):
    """An object of fields in the registry's wire format: a zero byte, the schema's id in four, and the content.

    In place of these there may be a byte of 1 and the schema's GUID in 16.

    Args:
        id_header: the header that has these bytes, the id's four alone, or the id in eight, where the value is the
            content alone; `__value_schema_id` is Confluent's. A record without it has them in its value.
        schema_ids: the ids, or GUIDs, of the only schemas that values may have. Without them a value may name any of
            the registry, so that whoever may register one chooses how it is read.
    """

    id_header: Annotated[str, Field(min_length=1, max_length=1000)] | None = unset()
    schema_ids: Annotated[tuple[SchemaName, ...], Field(min_length=1, max_length=1000)] | None = unset()

    @property
    def schema_header(self) -> str | None:
        return self.id_header

    def with_schema_id(self, schema_id: bytes, value: bytes) -> bytes:
        # No bytes are no JSON, and no Avro with a content. Without an id before them they are refused as `empty`.
        if not value:
            return value
        known = len(schema_id) == GUID_PREFIX_BYTES and schema_id[0] == GUID_MAGIC
        if known or (len(schema_id) == PREFIX_BYTES and schema_id[0] == MAGIC):
            return schema_id + value
        if len(schema_id) == 4 or (len(schema_id) == 8 and schema_id[:4] == bytes(4)):
            return bytes([MAGIC]) + schema_id[-4:] + value
        raise InvalidRecord(
            "no-wire-format", f"The header {self.id_header} has {schema_id[:20].hex(' ')}, which is no schema's id."
        )

    @property
    def needs_registry(self) -> bool:
        return True

    def registered_opener(
        self, schemas: Schemas, kind: str, reading: Callable[[Schema], Callable[[bytes], Any]], label: str | None
    ) -> Open:
        """An `Open` for values of many schemas.

        Args:
            kind: the registry's name of the schemas' type.
            reading: returns what reads the content of values of a schema, or raises `InvalidRecord`. It is called once
                for each schema.
        """
        # The reader of each schema, or why it is refused.
        readers: dict[int | str, Callable[[bytes], Any] | Refusal] = {}

        def reader_of(schema_id: int | str) -> Callable[[bytes], Any]:
            if self.schema_ids is not None and schema_id not in self.schema_ids:
                raise InvalidRecord(
                    "unlisted-schema", f"The value is of schema {schema_id}, which is not in envelope.schema_ids."
                )
            schema = schemas.find(schema_id, serialized=kind == "PROTOBUF")
            if schema is None:
                raise InvalidRecord("unknown-schema", f"The Schema Registry has no schema {schema_id}.")
            if (schema.schema_type or "AVRO") != kind:
                raise InvalidRecord(
                    "wrong-schema-type", f"Schema {schema_id} is of type {schema.schema_type}, not {kind}."
                )
            return reading(schema)

        def parse(value: bytes) -> Any:
            schema_id, start = schema_id_of(value)
            try:
                if schema_id not in readers:
                    if len(readers) >= READERS_KEPT:
                        readers.clear()
                    try:
                        readers[schema_id] = reader_of(schema_id)
                    except InvalidRecord as error:
                        readers[schema_id] = error.refusal
                reader = readers[schema_id]
                if isinstance(reader, Refusal):
                    raise InvalidRecord(reader.reason, reader.error)  # noqa: TRY301 - for each of its values
                return reader(value[start:])
            except (MemoryError, InvalidRecord, MillraceError):
                raise
            except Exception as error:
                if schemas.caused(error):  # while fetching a schema that this one refers to
                    raise schemas.explain(error, schema_id) from error
                # For invalid bytes, the parsers raise all kinds of exceptions.
                raise InvalidRecord(
                    "not-its-schema", f"{len(value)} bytes cannot be read by schema {schema_id} ({one_line(error)})."
                ) from error

        return self.field_opener(parse, label)


def with_file(values: Any, key: str, content: str, read: Callable[[bytes], str]) -> Any:
    """The settings of an envelope with the content of the file that one of them names, unless they have it already.

    Raises:
        ValueError: the file can't be read, or is too large.
    """
    if not isinstance(values, dict) or not isinstance(values.get(key), str) or content in values:
        return values
    named = f"{key} = {values[key]!r}"
    try:
        file = (PROJECT_ROOT / values[key]).read_bytes()
        text = read(file)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{named} can't be read: {error}") from error
    if len(file) > MAX_FILE_BYTES:
        raise ValueError(f"{named} has {len(file)} bytes and the limit is {MAX_FILE_BYTES}")
    return {**values, content: text}


def schema_id_of(value: bytes) -> tuple[int | str, int]:
    """The id or GUID that a value begins with, and where its content does.

    Raises:
        InvalidRecord: it begins with neither.
    """
    if len(value) > GUID_PREFIX_BYTES and value[0] == GUID_MAGIC:
        return str(UUID(bytes=value[1:GUID_PREFIX_BYTES])), GUID_PREFIX_BYTES
    if len(value) <= PREFIX_BYTES or value[0] != MAGIC:
        raise InvalidRecord(
            "no-wire-format",
            f"{len(value)} bytes that begin with {value[:PREFIX_BYTES].hex(' ')} are not in the Schema Registry's wire "
            "format, which begins with 00 and four bytes of an id.",
        )
    return int.from_bytes(value[1:PREFIX_BYTES], "big"), PREFIX_BYTES
