"""Records in JSON, by JSON Schemas of a Schema Registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from include.envelopes._registered import RegisteredEnvelope
from include.envelopes.base import Open

if TYPE_CHECKING:
    from include.kafka.schema_registry import Schemas


class JsonSchemaEnvelope(RegisteredEnvelope):
    """A JSON object that is valid by the schema that it was written with."""

    kind: Literal["json-schema"] = "json-schema"

    def open_with(self, schemas: Schemas | None, label: str | None) -> Open:
        from confluent_kafka.schema_registry.json_schema import JSONDeserializer

        if schemas is None:
            raise ValueError("JSON by a schema is read with a Schema Registry, and none was given.")
        # A value's schema is found by its id; by default the client asks for the subject too, and wants the topic.
        settings = {"subject.name.strategy": lambda *_: None}
        return self.wired(schemas, "JSON", JSONDeserializer(None, None, schemas.client, settings), label)
