"""Base of the envelopes with fields: content, id, group and label are fields of one object, by their names."""

import binascii
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic.json_schema import SkipJsonSchema

from include.base64_text import lenient_base64
from include.envelopes.base import MAX_FIELD_BYTES, Envelope, EnvelopeContent, Open, RowName, unset
from include.field_text import NoSingleText, field_text
from include.kinds import Config
from include.refusal import InvalidRecord
from include.row_json import row_json
from include.strict_json import Number

# An array has no more dimensions.
MAX_LEVELS = 32

FieldName = Annotated[str, Field(pattern=r"^[^.]+(\.[^.]+)*$", max_length=1000)]


class Deletion(Config):
    """A record deletes its row if `field` has this value, as text; see `include.field_text`.

    Args:
        id: the field with the deleted row's id, if it differs from the other records' field; without it, the record's
            key names the row.
    """

    field: FieldName
    id: FieldName | None = None
    value: Annotated[str, Field(min_length=1)] | bool | int

    def applies_to(self, fields: Any) -> bool:
        """Whether an object of fields deletes its row.

        Raises:
            InvalidRecord: the field has no text.
        """
        return text_field(fields, self.field) == field_text(self.value)


class FieldEnvelope(Envelope):
    """An object of fields; `a.b` is field `b` of the object in field `a`.

    Args:
        content: the field that holds what the format's codec decodes; of a row, the object with its columns, which
            without `content` is the record itself.
        content_is: whether a text content is the sample's UTF-8, or base64 of its bytes; `numbers` for a list of
            numbers, or their text, which the format `tensor.text` reads; `row` for the columns of the format `row`.
        lenient: also accept the dialects of base64 in `include.base64_text.lenient_base64`.
        id: the field with the sample's id; without it, the id is the record's key, or its address.
        group: the field whose equal values stay on one side of the held-out split; without it, the id.
        columns: of a row; a manifest has those of the pipeline's format.
        newest_of: the records are versions of rows, as from change data capture. Records with the same id, or with the
            same key, are one row, and the last one is its state. A record without a value deletes the row of its key.
        deleted: which other records delete a row. They need only the row's id or key.
    """

    has_fields: ClassVar[bool] = True

    content: FieldName | None = unset()
    content_is: Literal["text", "base64", "numbers", "row"] = Field("text", validate_default=True)
    lenient: bool = unset(False)
    id: FieldName | None = None
    group: FieldName | None = None
    newest_of: RowName | None = unset()
    deleted: Deletion | None = unset()
    columns: SkipJsonSchema[tuple[str, ...]] = unset(())

    @field_validator("content_is")
    @classmethod
    def _in_a_field(cls, value: str, info: ValidationInfo) -> str:
        if value != "row" and info.data.get("content", ...) is None:
            raise ValueError("content is required, the field that holds the sample")
        return value

    @field_validator("lenient")
    @classmethod
    def _of_base64(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("content_is") != "base64":
            raise ValueError('only content_is = "base64" has this key; remove it, or set that')
        return value

    @field_validator("newest_of")
    @classmethod
    def _named(cls, value: RowName | None, info: ValidationInfo) -> RowName | None:
        if value == "id" and info.data.get("id") is None:
            raise ValueError('set id, the field that names the row; or "key", where the record\'s key does')
        return value

    @field_validator("deleted")
    @classmethod
    def _of_versions(cls, value: Deletion | None, info: ValidationInfo) -> Deletion | None:
        if value is not None and info.data.get("newest_of") is None:
            raise ValueError('only versions of rows are deleted; set newest_of = "id" or "key"')
        return value

    @property
    def row_name(self) -> RowName | None:
        return self.newest_of

    def field_opener(self, parse: Callable[[bytes], Any], label: str | None, *, may_be_empty: bool = False) -> Open:
        """An `Open` for values that `parse` turns into an object; see `Envelope.open_with`.

        Args:
            may_be_empty: whether a value of no bytes is such an object, too.
        """

        def open_value(value: bytes | None) -> EnvelopeContent:
            if value is None and self.newest_of is not None:
                return EnvelopeContent(None, deleted=True)
            if value is None or not (value or may_be_empty):
                raise InvalidRecord("empty", "The record has no value and an object of fields was expected.")
            fields = parse(value)
            return sample(fields) if self.newest_of is None else version(fields)

        def sample(fields: Any) -> EnvelopeContent:
            return EnvelopeContent(
                content=self._content(fields if self.content is None else _at(fields, self.content)),
                id=None if self.id is None else _required(fields, self.id),
                group=None if self.group is None else _required(fields, self.group),
                label=None if label is None else text_field(fields, label),
            )

        def version(fields: Any) -> EnvelopeContent:
            if self.deleted is not None and self.deleted.applies_to(fields):
                return EnvelopeContent(None, id=_optional(fields, self.deleted.id or self.id), deleted=True)
            try:
                return sample(fields)
            except InvalidRecord as error:
                return EnvelopeContent(None, id=_optional(fields, self.id), refusal=error.refusal)

        return open_value

    def with_columns(self, columns: tuple[str, ...]) -> Envelope:
        return self.model_copy(update={"columns": columns}) if self.content_is == "row" else self

    def _content(self, content: Any) -> bytes:
        if self.content is None or self.content_is == "row":
            return _row(self.content, content, self.columns)
        if content is None:
            raise _missing(self.content)
        if self.content_is == "numbers" and not isinstance(content, bytes):
            return _encoded(self.content, content if isinstance(content, str) else _numbers(self.content, content))
        if isinstance(content, bytes):
            return content
        if not isinstance(content, str) or isinstance(content, Number):
            kind = type(content).__name__
            hint = ', set content_is = "numbers" for a list of numbers' if isinstance(content, list) else ""
            raise InvalidRecord(
                "wrong-type", f"Field {self.content!r} is a {kind}, and text or bytes were expected{hint}."
            )
        if self.content_is == "text":
            return _encoded(self.content, content)
        try:
            if self.lenient:
                return lenient_base64(_encoded(self.content, content))
            return binascii.a2b_base64(content, strict_mode=True)
        except ValueError as error:
            raise InvalidRecord("invalid-base64", f"Field {self.content!r} is not base64: {error}.") from error


def text_field(fields: Any, path: str) -> str | None:
    """The text of a field, see `include.field_text`; None where it is missing, the empty text where it is empty.

    Raises:
        InvalidRecord: the field has no single text, or is longer than the limit.
    """
    value = _at(fields, path)
    if isinstance(value, str) and not isinstance(value, Number):
        text = value
    else:
        try:
            converted = field_text(value)
        except NoSingleText as error:
            raise InvalidRecord("wrong-type", f"Field {path!r} is no label, group or id: {error}") from error
        if converted is None:
            return None
        text = converted
    size = len(_encoded(path, text))
    if size > MAX_FIELD_BYTES:
        raise InvalidRecord("field-too-long", f"Field {path!r} has {size} bytes and the limit is {MAX_FIELD_BYTES}.")
    return str(text)


def _at(fields: Any, path: str) -> Any:
    for name in path.split("."):
        if not isinstance(fields, dict):
            error = f"Field {name!r} of {path!r} would be in a {type(fields).__name__}, and an object was expected."
            raise InvalidRecord("wrong-type", error)
        fields = fields.get(name)
        if fields is None:
            return None
    return fields


def _required(fields: Any, path: str) -> bytes:
    text = text_field(fields, path)
    if not text:
        raise _missing(path)
    return text.encode()


def _row(path: str | None, content: Any, columns: tuple[str, ...]) -> bytes:
    """The JSON of a row's columns; `a.b` is field `b` of the object in field `a` unless a field has that very name."""
    if not isinstance(content, dict):
        where = "The record" if path is None else f"Field {path!r}"
        raise InvalidRecord(
            "wrong-type", f"{where} is a {type(content).__name__}, and an object of columns was expected."
        )
    cells = [(column, content[column] if column in content else _at(content, column)) for column in columns]
    try:
        return row_json(cells).encode()
    except (NoSingleText, UnicodeEncodeError) as error:
        raise InvalidRecord("wrong-type", f"{_unusable(cells)}: {error}") from error


def _unusable(cells: list[tuple[str, Any]]) -> str:
    """Which column has no JSON."""
    for cell in cells:
        try:
            row_json([cell]).encode()
        except (NoSingleText, UnicodeEncodeError):
            return f"Column {cell[0]!r} is no number and no category"
    raise ValueError("Every column has its JSON.")


def _numbers(path: str, content: Any, levels: int = 0) -> str:
    """The JSON of a number, or of a list of these."""
    if isinstance(content, list | tuple) and levels < MAX_LEVELS:
        return f"[{','.join(_numbers(path, item, levels + 1) for item in content)}]"
    if isinstance(content, Number):
        return content
    if isinstance(content, bool) or not isinstance(content, int | float | Decimal):
        raise InvalidRecord("wrong-type", f"Field {path!r} holds {content!r:.60}, which is no number.")
    if not math.isfinite(content):
        raise InvalidRecord("not-finite", f"Field {path!r} holds {content}.")
    return str(content)


def _optional(found: Any, path: str | None) -> bytes | None:
    """The text of a field; None where nothing can be read of it."""
    try:
        return None if path is None else _required(found, path)
    except InvalidRecord:
        return None


def _encoded(path: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRecord("invalid-utf8", f"Field {path!r} has half a surrogate pair at {error.start}.") from error


def _missing(path: str) -> InvalidRecord:
    return InvalidRecord("missing-field", f"Field {path!r} is missing, null or empty.")
