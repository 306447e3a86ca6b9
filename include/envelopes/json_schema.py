"""Records in JSON, by JSON Schemas of a Schema Registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from include.envelopes._registered import RegisteredEnvelope
from include.envelopes.base import Open

if TYPE_CHECKING:
    from include.kafka.schema_registry import Schemas


class JsonSchemaEnvelope(RegisteredEnvelope):
    """A JSON object that is valid by the schema whose id its value has."""

    kind: Literal["json-schema"] = "json-schema"

    def open_with(self, schemas: Schemas | None, label: str | None) -> Open:
        from confluent_kafka.schema_registry.json_schema import JSONDeserializer

        if schemas is None:
            raise ValueError("JSON Schema needs a Schema Registry, and schemas is None.")
        # The id in a value is enough; by default the client also resolves the subject, and needs the topic for it.
        settings = {"subject.name.strategy": lambda *_: None}
        return self.registered_opener(schemas, "JSON", JSONDeserializer(None, None, schemas.client, settings), label)
