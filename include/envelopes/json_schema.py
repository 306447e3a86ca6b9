"""Records in JSON, by JSON Schemas of a Schema Registry."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from include.envelopes._bounded_json_schema import JsonSchemaCheck
from include.envelopes._registered import RegisteredEnvelope
from include.envelopes.base import Open
from include.kafka.schema_registry import Schemas
from include.refusal import InvalidRecord
from include.strict_json import read_json

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import Schema


class JsonSchemaEnvelope(RegisteredEnvelope):
    """A JSON object that is valid by the schema whose id its value has."""

    kind: Literal["json-schema"] = "json-schema"

    def open_with(self, schemas: Schemas | None, label: str | None) -> Open:
        from confluent_kafka.schema_registry._sync.json_schema import _resolve_named_schema
        from referencing import Registry

        if schemas is None:
            raise ValueError("JSON Schema needs a Schema Registry, and schemas is None.")
        client = schemas.client

        def reading(schema: Schema) -> Callable[[bytes], Any]:
            # With a registry of our own, since the client's fetches references from any server that they name.
            references: Registry[Any] = _resolve_named_schema(schema, client, Registry())
            # By Python's own parser: the client's is another one where the package orjson is installed.
            parsed = json.loads(schema.schema_str or "")
            check = JsonSchemaCheck(parsed, references, trusted=self.schema_ids is not None)

            def read(content: bytes) -> Any:
                fields = read_json(content, _integer, float)
                check.require(fields)
                return fields

            return read

        return self.registered_opener(schemas, "JSON", reading, label)


def _integer(digits: str) -> int:
    """The integer that the schema's check needs; reading takes quadratic time, and Python limits its digits."""
    try:
        return int(digits)
    except ValueError as error:
        raise InvalidRecord(
            "not-its-schema",
            f"An integer has {len(digits)} digits, and the limit of a check by a JSON Schema is "
            f"{sys.get_int_max_str_digits()}.",
        ) from error
