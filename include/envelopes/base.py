"""What an envelope is: where a record has its content, id, group and label."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from include.kafka.schema_registry import Schemas
from include.kinds import Config
from include.refusal import Refusal

MAX_FIELD_BYTES = 1024


RowName = Literal["id", "key"]


def unset(default: Any = None) -> Any:
    """A setting that is excluded from the JSON at its default, so that older manifests keep their digests."""
    return Field(default, exclude_if=lambda value: value == default)


class EnvelopeContent(NamedTuple):
    """The content of an opened envelope; None for what it does not have.

    Attributes:
        deleted: the record deletes its row.
        refusal: why a record is no sample although its row is known, so that it replaces the row's older state.
    """

    content: bytes | None
    id: bytes | None = None
    group: bytes | None = None
    label: str | None = None
    deleted: bool = False
    refusal: Refusal | None = None


# Raises include.refusal.InvalidRecord for a value that is no such envelope, MillraceError where a retry may succeed.
Open = Callable[[bytes | None], EnvelopeContent]


class Envelope(Config):
    """Settings of an `[envelope]` table.

    Attributes:
        own_headers: whether records have Millrace's headers `schema` and `group`.
        has_fields: whether a label can be one of its fields.
    """

    own_headers: ClassVar[bool] = False
    has_fields: ClassVar[bool] = False

    kind: str

    @property
    def row_name(self) -> RowName | None:
        """What identifies a row, if the topic holds versions of rows."""
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

    def with_columns(self, columns: tuple[str, ...]) -> Envelope:  # noqa: ARG002
        """The envelope of rows with these columns."""
        return self

    def open_with(self, schemas: Schemas | None, label: str | None) -> Open | None:  # noqa: ARG002
        """A function that opens a record's value; None where the value is the content itself.

        Args:
            schemas: given if `needs_registry`.
            label: the field with the label, if a field has it.
        """
        return None
