"""What an envelope is: it says where a record has its sample, and never raises for a record that has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field

from include.kinds import Config
from include.refusal import Refusal

if TYPE_CHECKING:
    from include.kafka.schema_registry import Schemas

LONGEST_FIELD_BYTES = 1024


RowName = Literal["id", "key"]


def unset(default: Any = None) -> Any:
    """A setting that is left out of the JSON while nobody sets it, so that older manifests keep their digests."""
    return Field(default, exclude_if=lambda value: value == default)


class EnvelopeContent(NamedTuple):
    """What an envelope holds; None for what it does not say.

    Attributes:
        deleted: the record says that its row was deleted.
        refusal: why a record is no sample whose row is known all the same, so that it replaces the row's older state.
    """

    content: bytes | None
    id: bytes | None = None
    group: bytes | None = None
    label: str | None = None
    deleted: bool = False
    refusal: Refusal | None = None


# Raises include.refusal.InvalidRecord for a value that is no such envelope, and MillraceError where a retry may help.
Open = Callable[[bytes | None], EnvelopeContent]


class Envelope(Config):
    """Settings of an `[envelope]` table."""

    kind: str

    @property
    def own_headers(self) -> bool:
        """Whether records have Millrace's headers `schema` and `group`."""
        return False

    @property
    def has_fields(self) -> bool:
        """Whether a label can be one of its fields."""
        return False

    @property
    def row_name(self) -> RowName | None:
        """What the versions of a row have in common, where the topic holds versions of rows."""
        return None

    @property
    def needs_registry(self) -> bool:
        """Whether it is read with a Schema Registry."""
        return False

    @property
    def schema_header(self) -> str | None:
        """The header that has a schema's id, where one has it."""
        return None

    def with_schema_id(self, schema_id: bytes, value: bytes) -> bytes:  # noqa: ARG002
        """The value as `open_with` opens it, of a record whose `schema_header` is there.

        Raises:
            InvalidRecord: the header has no schema's id.
        """
        return value

    def open_with(self, schemas: Schemas | None, label: str | None) -> Open | None:  # noqa: ARG002
        """What opens the values of records; None where a value is the content as it stands.

        Args:
            schemas: where `needs_registry` says so.
            label: the field that has the label, where one has it.
        """
        return None
