"""Records in Avro, by schemas of a Schema Registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from include.envelopes.base import Open
from include.envelopes.registered import RegisteredEnvelope
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

        if schemas is None:
            raise ValueError("Avro is read with a Schema Registry, and none was given.")
        reader = None if self.reader_schema is None else schemas.find(self.reader_schema)
        if reader is None and self.reader_schema is not None:
            raise NoSuchSchema(
                f"The Schema Registry at {schemas.url} has no schema {self.reader_schema}, which "
                "envelope.reader_schema names: correct it."
            )
        return self.wired(schemas, "AVRO", AvroDeserializer(schemas.client, reader), label)
