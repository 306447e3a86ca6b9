"""Records in Avro, by schemas of a Schema Registry."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from include.envelopes._registered import PREFIX_BYTES, RegisteredEnvelope, schema_id_of
from include.envelopes.base import Open
from include.errors import PermanentError

if TYPE_CHECKING:
    from include.kafka.schema_registry import Schemas


class NoSuchSchema(PermanentError):
    """The reader's schema is none of the registry's."""


class AvroEnvelope(RegisteredEnvelope):
    """An Avro record; each is read by the schema that it was written with.

    Args:
        reader_schema: id of the schema that all are read as, whichever they were written with: fields that this one
            has with a default may be missing. An id never changes its meaning, as a subject's newest version does, so
            that a training sees the same samples again.
    """

    kind: Literal["avro"] = "avro"
    reader_schema: Annotated[int, Field(ge=0)] | None = None

    def open_with(self, schemas: Schemas | None, label: str | None) -> Open:
        from confluent_kafka.schema_registry.avro import AvroDeserializer
        from fastavro._read_py import schemaless_reader

        if schemas is None:
            raise ValueError("Avro is read with a Schema Registry, and none was given.")
        reader = None if self.reader_schema is None else schemas.find(self.reader_schema)
        if reader is None and self.reader_schema is not None:
            raise NoSuchSchema(
                f"The Schema Registry at {schemas.url} has no schema {self.reader_schema}, which "
                "envelope.reader_schema names: correct it."
            )
        deserializer = AvroDeserializer(schemas.client, reader)
        recursive: dict[int, Any] = {}

        def deserialize(value: bytes) -> Any:
            schema_id = schema_id_of(value)
            if schema_id not in recursive:
                parsed = deserializer._get_parsed_schema(schemas.client.get_schema(schema_id))
                recursive[schema_id] = parsed if _holds_itself(parsed) else None
            if (parsed := recursive[schema_id]) is not None:
                # The compiled reader ends the process where a value goes deeper than its stack; this one raises.
                schemaless_reader(io.BytesIO(value[PREFIX_BYTES:]), parsed)
            return deserializer(value)

        return self.wired(schemas, "AVRO", deserialize, label)


def _holds_itself(schema: Any, within: frozenset[str] = frozenset()) -> bool:
    """Whether a type of a parsed schema has itself in it, as those of lists and trees do."""
    if isinstance(schema, str):
        return schema in within
    if isinstance(schema, list):
        return any(_holds_itself(part, within) for part in schema)
    if "name" in schema:
        within |= {schema["name"]}
    parts = [
        schema.get("type"),
        schema.get("items"),
        schema.get("values"),
        *(f["type"] for f in schema.get("fields", [])),
    ]
    return any(_holds_itself(part, within) for part in parts if part is not None)
