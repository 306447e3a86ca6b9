"""Records in Avro, by schemas of a Schema Registry, or by one that the pipeline has."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from include.envelopes._registered import RegisteredEnvelope, schema_id_of
from include.envelopes.base import Open, unset
from include.errors import PermanentError, one_line
from include.refusal import InvalidRecord
from include.storage.state import PROJECT_ROOT

if TYPE_CHECKING:
    from include.kafka.schema_registry import Schemas


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
        if not isinstance(values, dict) or not isinstance(values.get("schema_file"), str) or "avro_schema" in values:
            return values
        try:
            text = (PROJECT_ROOT / values["schema_file"]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"schema_file = {values['schema_file']!r} can't be read: {error}") from error
        return {**values, "avro_schema": text}

    @field_validator("avro_schema")
    @classmethod
    def _is_avro(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            return None
        if info.data.get("reader_schema") is not None or info.data.get("id_header") is not None:
            raise ValueError("reader_schema and id_header are of a Schema Registry; remove them, or the schema")
        try:
            _parsed(value)
        except Exception as error:  # the parser raises whatever the text leads it to
            raise ValueError(f"it is no Avro schema: {one_line(error)}") from error
        return value

    @property
    def needs_registry(self) -> bool:
        return self.avro_schema is None

    def open_with(self, schemas: Schemas | None, label: str | None) -> Open:
        from confluent_kafka.schema_registry.avro import AvroDeserializer
        from fastavro._read_py import schemaless_reader

        if self.avro_schema is not None:
            return self.field_opener(_reading(_parsed(self.avro_schema)), label)
        if schemas is None:
            raise ValueError("Avro needs a Schema Registry, and schemas is None.")
        reader = None if self.reader_schema is None else schemas.find(self.reader_schema)
        if reader is None and self.reader_schema is not None:
            raise NoSuchSchema(
                f"The Schema Registry at {schemas.url} has no schema {self.reader_schema}, which "
                "envelope.reader_schema names: correct it."
            )
        deserializer = AvroDeserializer(schemas.client, reader)
        recursive: dict[int | str, Any] = {}

        def deserialize(value: bytes) -> Any:
            schema_id, start = schema_id_of(value)
            if schema_id not in recursive:
                schema = schemas.find(schema_id)
                if schema is None:
                    raise ValueError(f"the registry has no schema {schema_id}")
                parsed = deserializer._get_parsed_schema(schema)
                recursive[schema_id] = parsed if _holds_itself(parsed) else None
            if (parsed := recursive[schema_id]) is not None:
                # At deep nesting the compiled reader overflows its stack and ends the process; this one raises.
                schemaless_reader(io.BytesIO(value[start:]), parsed)
            return deserializer(value)

        return self.registered_opener(schemas, "AVRO", deserialize, label)


def _parsed(text: str) -> Any:
    from fastavro import parse_schema

    return parse_schema(json.loads(text))


def _reading(schema: Any) -> Callable[[bytes], Any]:
    """What reads values that were written with the schema."""
    from fastavro import schemaless_reader
    from fastavro._read_py import schemaless_reader as raising_reader
    from fastavro.schema import fingerprint, to_parsing_canonical_form

    single_object = SINGLE_OBJECT + bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))
    # The compiled reader ends the process where a value goes deeper than its stack.
    reader = raising_reader if _holds_itself(schema) else schemaless_reader

    def read(value: bytes) -> Any:
        content = io.BytesIO(value.removeprefix(single_object))
        try:
            found = reader(content, schema, None)
        except MemoryError:
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


def _holds_itself(schema: Any, within: frozenset[str] = frozenset()) -> bool:
    """Whether a parsed schema has a type that contains itself, as a linked list or a tree does."""
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
