"""Records whose value is a JSON object."""

from typing import Literal

from include.envelopes._fields import FieldEnvelope
from include.envelopes.base import Open
from include.kafka.schema_registry import Schemas
from include.strict_json import read_json


class JsonEnvelope(FieldEnvelope):
    """JSON as RFC 8259 defines it; other fields may have any content."""

    kind: Literal["json"] = "json"

    def open_with(self, schemas: Schemas | None, label: str | None) -> Open:  # noqa: ARG002
        return self.field_opener(read_json, label)
