"""Records in Avro, by schemas of a Schema Registry, or by one that the pipeline has."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from include.envelopes._bounded_avro import AvroBounds, bound_decimals
from include.envelopes._registered import RegisteredEnvelope, with_file
from include.envelopes.base import Open, unset
from include.errors import PermanentError, one_line
from include.kafka.schema_registry import Schemas
from include.refusal import InvalidRecord

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import Schema


# Avro's single-object encoding: these bytes, and the fingerprint of the schema, before the binary encoding.
SINGLE_OBJECT = b"\xc3\x01"


class NoSuchSchema(PermanentError):
    """The registry does not have the reader's schema."""


class AvroEnvelope(RegisteredEnvelope):
    """An Avro record; each is read by the schema that it was written with.

    Args:
        reader_schema: id of the schema that records of every writer's schema are converted to: fields with a default
            there may be missing. An id, in contrast to a subject's newest version, never changes its meaning, so that a
            repeated training gets the same samples.
        schema_file: the file of the one schema that all were written with, by a path relative to the project; no
            registry is needed then, and values are Avro's own binary encoding or its single-object encoding.
        avro_schema: the content of that file; a manifest has it, so that a file that changes changes no old training.
    """

    kind: Literal["avro"] = "avro"
    reader_schema: Annotated[int, Field(ge=0)] | None = None
    schema_file: Annotated[str, Field(min_length=1)] | None = unset()
    avro_schema: Annotated[str, Field(min_length=1)] | None = unset()

    @model_validator(mode="before")
    @classmethod
    def _read_file(cls, values: Any) -> Any:
        return with_file(values, "schema_file", "avro_schema", bytes.decode)

    @field_validator("avro_schema")
    @classmethod
    def _is_avro(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            return None
        if info.data.get("reader_schema") is not None or info.data.get("id_header") is not None:
            raise ValueError("reader_schema and id_header are of a Schema Registry; remove them, or the schema")
        try:
            AvroBounds(_parsed(value))
        except Exception as error:  # the parser raises whatever the text leads it to
            raise ValueError(f"it is no Avro schema: {one_line(error)}") from error
        return value

    @property
    def needs_registry(self) -> bool:
        return self.avro_schema is None

    def open_with(self, schemas: Schemas | None, label: str | None) -> Open:
        from confluent_kafka.schema_registry.avro import AvroDeserializer

        if self.avro_schema is not None:
            return self.field_opener(_reading_whole(_parsed(self.avro_schema)), label)
        if schemas is None:
            raise ValueError("Avro needs a Schema Registry, and schemas is None.")
        deserializer = AvroDeserializer(schemas.client)
        target: Any = None
        if self.reader_schema is not None:
            reader_schema = schemas.find(self.reader_schema)
            if reader_schema is None:
                raise NoSuchSchema(
                    f"The Schema Registry at {schemas.url} has no schema {self.reader_schema}, which "
                    "envelope.reader_schema names: correct it."
                )
            target = deserializer._get_parsed_schema(reader_schema)

        def reading(schema: Schema) -> Callable[[bytes], Any]:
            read = _reading(deserializer._get_parsed_schema(schema), target)
            return lambda content: read(io.BytesIO(content))

        return self.registered_opener(schemas, "AVRO", reading, label)


def _parsed(text: str) -> Any:
    from fastavro import parse_schema

    return parse_schema(json.loads(text))


def _reading(schema: Any, target: Any = None) -> Callable[[io.BytesIO], Any]:
    """What reads values that were written with the schema.

    Args:
        target: the schema that they are converted to.

    Raises:
        InvalidRecord: the schema is unsafe, see `include.envelopes._bounded_avro`.
    """
    from fastavro import schemaless_reader
    from fastavro._read_py import schemaless_reader as raising_reader

    bound_decimals()
    bounds = AvroBounds(schema)
    # The compiled reader ends the process where a value goes deeper than its stack.
    reader = raising_reader if bounds.recursive else schemaless_reader

    def read(content: io.BytesIO) -> Any:
        bounds.refuse_large(content.getvalue())
        return reader(content, schema, target)

    return read


def _reading_whole(schema: Any) -> Callable[[bytes], Any]:
    """What reads values of the pipeline's own schema."""
    from fastavro.schema import fingerprint, to_parsing_canonical_form

    single_object = SINGLE_OBJECT + bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))
    read_one = _reading(schema)

    def read(value: bytes) -> Any:
        content = io.BytesIO(value.removeprefix(single_object))
        try:
            found = read_one(content)
        except (MemoryError, InvalidRecord):
            raise
        except Exception as error:
            # The parsers raise whatever the bytes lead them to.
            raise InvalidRecord(
                "not-its-schema", f"{len(value)} bytes can't be read by the pipeline's schema ({one_line(error)})."
            ) from error
        if left := len(content.read()):
            raise InvalidRecord(
                "not-its-schema",
                f"Of {len(value)} bytes the last {left} are beyond what the pipeline's schema describes.",
            )
        return found

    return read
