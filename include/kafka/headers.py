"""The headers of a record: those of Millrace's own, written and read, and any others as they come."""

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
# Stands in a record for its headers where one of them has a name that can't be read.
UNREADABLE = "unreadable-headers"
UNREADABLE_HEADERS = Refusal(UNREADABLE, "A header's name is not UTF-8: no header can be read.")

OWN_HEADERS = (SCHEMA, GROUP)
LONGEST_HEADER_BYTES = 1024
# A pair, a name and a content as Python objects, about: a megabyte of headers may be many tiny ones.
HEADER_OVERHEAD_BYTES = 128

Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class RecordHeaders:
    """What Millrace reads of a record's headers; None where a header is absent.

    Attributes:
        refusal: why they can't be relied on; the others are None then.
    """

    schema: str | None = None
    label: str | None = None
    group: bytes | None = None
    split: str | None = None
    refusal: Refusal | None = None

    def refusal_for(self, schema: str) -> Refusal | None:
        """Why they are not those of a record of `schema`; None where they are."""
        if self.refusal is not None:
            return self.refusal
        if self.schema is None:
            return Refusal("no-schema", f"The record has no schema header and the pipeline's format is {schema}.")
        if self.schema != schema:
            error = f"The schema header is {self.schema!r} and the pipeline's format is {schema}."
            return Refusal("wrong-schema", error)
        return None


def headers_of(messages: Sequence[Message]) -> list[Headers]:
    """The headers of consumed records; `UNREADABLE` alone, from then on, where a header's name is not UTF-8.

    confluent_kafka gives null pointers for such a name, and an exception that only a call from C notices: `map` is one,
    while `message.headers()` returns them and ends the process when they are touched.
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
    """About how many bytes of memory the headers take: what they hold, and Python's objects around it."""
    return sum(len(name) + len(content or b"") + HEADER_OVERHEAD_BYTES for name, content in headers)


def read_headers(
    headers: Headers, *, label: str | None = LABEL, own: bool = True, split: bool = False
) -> RecordHeaders:
    """Millrace's own headers; somebody else's may be as many and as large as they like.

    Args:
        label: the header that has the label; None where none has it.
        own: False for somebody else's record, of which no other header is looked at.
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
        if len(content or b"") > LONGEST_HEADER_BYTES:
            error = f"The header {name} has {len(content or b'')} bytes, {LONGEST_HEADER_BYTES} at most are read."
            return RecordHeaders(refusal=Refusal("header-too-long", error))
        if found.setdefault(name, content) != content:
            error = f"The header {name} stands there twice, as {found[name]!r:.200} and as {content!r:.200}."
            return RecordHeaders(refusal=Refusal("duplicate-header", error))
    told = found.get(label) if label is not None else None
    return RecordHeaders(
        schema=_text(found.get(SCHEMA)) if own else None,
        label=_text(told),
        group=found.get(GROUP) if own else None,
        split=_text(found.get(SPLIT)) if split else None,
    )


def _text(content: bytes | None) -> str | None:
    return None if content is None else content.decode("utf-8", "replace")


def write_headers(
    schema: str, *, label: str | None = None, group: str | None = None, split: str | None = None
) -> list[tuple[str, bytes]]:
    """The headers of a sample; `group` only where it is not the sample's id, which the key carries already.

    Args:
        split: the sample's side of a given split, see `include.given_split`.
    """
    return list(_encoded_headers(schema, label, group, split))


# Shared pairs, not only for their encoding: thousands of records are kept until their transaction begins, and the
# garbage collector walks through every tuple that each of them has of its own.
@lru_cache(maxsize=8192)
def _encoded_headers(
    schema: str, label: str | None, group: str | None, split: str | None
) -> tuple[tuple[str, bytes], ...]:
    texts = ((SCHEMA, schema), (LABEL, label), (GROUP, group), (SPLIT, split))
    return tuple((name, text.encode()) for name, text in texts if text is not None)
