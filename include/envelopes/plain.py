"""Records whose value is the content itself."""

from typing import ClassVar, Literal

from include.envelopes.base import Envelope, EnvelopeContent, Open, RowName, unset
from include.kafka.schema_registry import Schemas


class OwnEnvelope(Envelope):
    """Millrace's own record: headers `schema` and `group`, and the id as key."""

    own_headers: ClassVar[bool] = True

    kind: Literal["millrace"] = "millrace"


class BareEnvelope(Envelope):
    """A record of another application: no header is required, and only the label's is read.

    Args:
        newest_of: records with the same key are versions of a row, and one without a value deletes it.
    """

    kind: Literal["bare"] = "bare"
    newest_of: Literal["key"] | None = unset()

    @property
    def row_name(self) -> RowName | None:
        return self.newest_of

    def open_with(self, schemas: Schemas | None, label: str | None) -> Open | None:  # noqa: ARG002
        return None if self.newest_of is None else _value_or_deleted


def _value_or_deleted(value: bytes | None) -> EnvelopeContent:
    return EnvelopeContent(value, deleted=value is None)
