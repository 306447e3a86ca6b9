"""Records whose value is a JSON object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from include.envelopes._fields import FieldEnvelope
from include.envelopes.base import Open
from include.refusal import InvalidRecord
from include.strict_json import parse

if TYPE_CHECKING:
    from include.kafka.schema_registry import Schemas


class JsonEnvelope(FieldEnvelope):
    """JSON as RFC 8259 defines it; other fields may have any content."""

    kind: Literal["json"] = "json"

    def open_with(self, schemas: Schemas | None, label: str | None) -> Open:  # noqa: ARG002
        return self.field_opener(read_json, label)


def read_json(value: bytes) -> Any:
    """Parse JSON, see `include.strict_json.parse`.

    Raises:
        InvalidRecord: the value is not JSON.
    """
    try:
        return parse(value)
    except UnicodeDecodeError as error:
        raise InvalidRecord(
            "invalid-utf8", f"Byte {error.start} of {len(value)} is not UTF-8: {error.reason}."
        ) from error
    except (ValueError, RecursionError) as error:
        raise InvalidRecord("invalid-json", f"{len(value)} bytes are not JSON: {error}.") from error
