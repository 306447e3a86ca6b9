"""What the envelopes of a Schema Registry share: its wire format, and what each failure means for the record."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from include.envelopes._fields import FieldEnvelope
from include.envelopes.base import Open
from include.errors import one_line
from include.refusal import InvalidRecord

if TYPE_CHECKING:
    from include.kafka.schema_registry import Schemas

MAGIC = 0
PREFIX_BYTES = 5


class RegisteredEnvelope(FieldEnvelope):
    """An object of fields in the registry's wire format: a zero byte, the schema's id in four, and the content."""

    @property
    def needs_registry(self) -> bool:
        return True

    def wired(self, schemas: Schemas, kind: str, deserialize: Callable[[bytes], Any], label: str | None) -> Open:
        """What opens values that `deserialize` makes an object of.

        Args:
            kind: the type that the registry tells of such a schema.
        """

        def read(value: bytes) -> Any:
            schema_id = schema_id_of(value)
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
                if schemas.caused(error):  # a schema that this one refers to
                    raise schemas.explain(error, schema_id) from error
                # The parsers raise whatever the bytes lead them to.
                raise InvalidRecord(
                    "not-its-schema", f"{len(value)} bytes can't be read by schema {schema_id} ({one_line(error)})."
                ) from error

        return self.picking(read, label)


def schema_id_of(value: bytes) -> int:
    """The id in a value's first five bytes.

    Raises:
        InvalidRecord: they are not as they should be.
    """
    if len(value) <= PREFIX_BYTES or value[0] != MAGIC:
        raise InvalidRecord(
            "no-wire-format",
            f"{len(value)} bytes that begin with {value[:PREFIX_BYTES].hex(' ')} are not in the Schema Registry's wire "
            "format, which begins with 00 and four bytes of an id.",
        )
    return int.from_bytes(value[1:PREFIX_BYTES], "big")
