"""The headers of a record: Millrace's own are written and parsed, all others are kept unchanged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from include.refusal import Refusal

if TYPE_CHECKING:
    from confluent_kafka import Message

SCHEMA = "schema"
LABEL = "label"
GROUP = "group"
SPLIT = "split"
MODEL = "model"
# Replaces the headers of a record in which one has a name that is not UTF-8.
UNREADABLE = "unreadable-headers"
UNREADABLE_HEADERS = Refusal(UNREADABLE, "A header's name is not UTF-8: no header can be read.")

OWN_HEADERS = (SCHEMA, GROUP)
MAX_HEADER_BYTES = 1024
# Approximate size of a pair, a name and a content as Python objects: a megabyte of headers may be many tiny ones.
HEADER_OVERHEAD_BYTES = 128

Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class RecordHeaders:
    """The headers that Millrace parses; None where a header is absent.

    Attributes:
        refusal: why they are ambiguous or unreadable; the others are None then.
    """

    schema: str | None = None
    label: str | None = None
    group: bytes | None = None
    split: str | None = None
    refusal: Refusal | None = None

    def refusal_for(self, schema: str) -> Refusal | None:
        """Why the record is not one of `schema`; None where it is."""
        if self.refusal is not None:
            return self.refusal
        if self.schema is None:
            return Refusal("no-schema", f"The record has no schema header and the pipeline's format is {schema}.")
        if self.schema != schema:
            error = f"The schema header is {self.schema!r} and the pipeline's format is {schema}."
            return Refusal("wrong-schema", error)
        return None


def headers_of(messages: Sequence[Message]) -> list[Headers]:
    """The headers of consumed records; where a header's name is not UTF-8, they are replaced by `UNREADABLE` alone.

    For such a name, confluent_kafka returns null pointers and sets an exception that only a call from C detects. `map`
    makes such a call; `message.headers()` returns the pointers, and using them crashes the process.
    """
    from confluent_kafka import Message

    found: list[Headers] = []
    reading = map(Message.headers, messages)
    while len(found) < len(messages):
        try:
            for headers in reading:
                found.append(tuple(headers or ()))  # type: ignore[arg-type]  # noqa: PERF401 - keeps what was read
        except SystemError:
            messages[len(found)].set_headers([(UNREADABLE, b"")])
            found.append(((UNREADABLE, b""),))
    return found


def headers_size(headers: Headers) -> int:
    """Approximate memory of the headers in bytes, with their Python objects."""
    return sum(len(name) + len(content or b"") + HEADER_OVERHEAD_BYTES for name, content in headers)


def read_headers(
    headers: Headers, *, label: str | None = LABEL, own: bool = True, split: bool = False
) -> RecordHeaders:
    """Parse Millrace's own headers; others may have any number and size.

    Args:
        label: the header with the label; None if no header has it.
        own: False for another application's record, in which only `label` is parsed.
        split: whether the side of a given split is read, in any record.
    """
    wanted = (label, *(OWN_HEADERS if own else ()), SPLIT if split else None)
    names = {name for name in wanted if name is not None}
    if not names:
        return RecordHeaders()
    found: dict[str, bytes | None] = {}
    for name, content in headers:
        if name == UNREADABLE:
            return RecordHeaders(refusal=UNREADABLE_HEADERS)
        if name not in names:
            continue
        if len(content or b"") > MAX_HEADER_BYTES:
            error = f"The header {name} has {len(content or b'')} bytes and the limit is {MAX_HEADER_BYTES}."
            return RecordHeaders(refusal=Refusal("header-too-long", error))
        if found.setdefault(name, content) != content:
            error = f"The header {name} is there twice, with {found[name]!r:.200} and with {content!r:.200}."
            return RecordHeaders(refusal=Refusal("duplicate-header", error))
    label_content = found.get(label) if label is not None else None
    return RecordHeaders(
        schema=_text(found.get(SCHEMA)) if own else None,
        label=_text(label_content),
        group=found.get(GROUP) if own else None,
        split=_text(found.get(SPLIT)) if split else None,
    )


def _text(content: bytes | None) -> str | None:
    return None if content is None else content.decode("utf-8", "replace")


def write_headers(
    schema: str, *, label: str | None = None, group: str | None = None, split: str | None = None
) -> list[tuple[str, bytes]]:
    """The headers of a sample; `group` only if it differs from the sample's id, which is the record's key.

    Args:
        split: the sample's side of a given split, see `include.given_split`.
    """
    return list(_encoded_headers(schema, label, group, split))


# The cache saves encoding, and shares the pairs: thousands of records wait in memory for their transaction, and the
# garbage collector would traverse separate tuples of each.
@lru_cache(maxsize=8192)
def _encoded_headers(
    schema: str, label: str | None, group: str | None, split: str | None
) -> tuple[tuple[str, bytes], ...]:
    texts = ((SCHEMA, schema), (LABEL, label), (GROUP, group), (SPLIT, split))
    return tuple((name, text.encode()) for name, text in texts if text is not None)
