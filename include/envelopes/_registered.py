"""Base of the envelopes with a Schema Registry: its wire format, and the refusal for each failure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from pydantic import Field

from include.envelopes._fields import FieldEnvelope
from include.envelopes.base import Open, unset
from include.errors import one_line
from include.refusal import InvalidRecord

if TYPE_CHECKING:
    from include.kafka.schema_registry import Schemas

MAGIC = 0
PREFIX_BYTES = 5
GUID_MAGIC = 1
GUID_PREFIX_BYTES = 17


class RegisteredEnvelope(FieldEnvelope):
    """An object of fields in the registry's wire format: a zero byte, the schema's id in four, and the content.

    In place of these there may be a byte of 1 and the schema's GUID in 16.

    Args:
        id_header: the header that has these bytes, the id's four alone, or the id in eight, where the value is the
            content alone; `__value_schema_id` is Confluent's. A record without it has them in its value.
    """

    id_header: Annotated[str, Field(min_length=1, max_length=1000)] | None = unset()

    @property
    def schema_header(self) -> str | None:
        return self.id_header

    def with_schema_id(self, schema_id: bytes, value: bytes) -> bytes:
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
        self, schemas: Schemas, kind: str, deserialize: Callable[[bytes], Any], label: str | None
    ) -> Open:
        """An `Open` for values that `deserialize` turns into an object.

        Args:
            kind: the registry's name of the schemas' type.
        """

        def parse(value: bytes) -> Any:
            schema_id, _ = schema_id_of(value)
            schema = schemas.find(schema_id)
            if schema is None:
                raise InvalidRecord("unknown-schema", f"The Schema Registry has no schema {schema_id}.")
            if (schema.schema_type or "AVRO") != kind:
                raise InvalidRecord(
                    "wrong-schema-type", f"Schema {schema_id} is of type {schema.schema_type}, not {kind}."
                )
            try:
                return deserialize(value)
            except MemoryError:
                raise
            except Exception as error:
                if schemas.caused(error):  # while fetching a schema that this one refers to
                    raise schemas.explain(error, schema_id) from error
                # For invalid bytes, the parsers raise all kinds of exceptions.
                raise InvalidRecord(
                    "not-its-schema", f"{len(value)} bytes cannot be read by schema {schema_id} ({one_line(error)})."
                ) from error

        return self.field_opener(parse, label)


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
