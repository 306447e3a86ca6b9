"""A dead letter read back: the record that it was, or why it has to stay dead."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from include.kafka.dead_letters import REASON
from include.kafka.headers import UNREADABLE, Headers
from include.kafka.records import OutgoingRecord
from include.refusal import Refusal

if TYPE_CHECKING:
    from confluent_kafka import Message

    from include.kafka.signing import SigningKeys

REPLAYS = "replays"

EXPLAINING = "dead-letter-"
NUMBER = re.compile(rb"[0-9]{1,9}")


def reason_of(headers: Headers) -> str:
    """Why the record died; empty where no header says so, as in a topic that others write to as well."""
    return (dict(headers).get(REASON) or b"").decode("utf-8", "replace")


def restore(
    message: Message, headers: Headers, topic: str, *, max_replays: int, max_bytes: int, keys: SigningKeys | None
) -> OutgoingRecord | Refusal:
    """The original for `topic`: key, value and headers untouched, and `replays`, how often it was sent again.

    Its timestamp is that of sending, for retention goes by it. Its signature stays what it was, and nothing is ever
    signed here: a record that nobody had signed must not come out of the dead letters as a signed one.

    Args:
        headers: the message's, from `headers_of`.
        max_replays: what was replayed so often stays dead (`exhausted`), or it might go round for ever.
        max_bytes: the largest record that `topic` takes (`oversize`).
        keys: where records are signed, the keys that a signature must be of (`unsigned`, `wrong-signature`,
            `unknown-key`).
    """
    if message.value() is None and reason_of(headers) == "oversize":
        return Refusal("oversize", "It was too large to be kept whole: send the original again.")
    original = [header for header in headers if not header[0].startswith(EXPLAINING)]
    if UNREADABLE in dict(original):
        return Refusal(UNREADABLE, "Its headers could not be read and are lost: send the original again.")
    if keys is not None and (refusal := keys.verify(message, headers)[1]) is not None:
        return refusal
    replays = _replays(original, max_replays)
    if isinstance(replays, Refusal):
        return replays
    others = [header for header in original if header[0] != REPLAYS]
    again = [*others, (REPLAYS, str(replays + 1).encode())]
    record = OutgoingRecord(topic, message.key(), message.value(), again)
    if record.size_bound > max_bytes:
        return Refusal("oversize", f"It has {record.size_bound} bytes with its headers and {topic} takes {max_bytes}.")
    return record


def _replays(headers: Sequence[tuple[str, bytes | None]], max_replays: int) -> int | Refusal:
    """How often the record was replayed, if it may be once more."""
    told = dict(headers).get(REPLAYS, b"0") or b""
    if not NUMBER.fullmatch(told):
        return Refusal("exhausted", f"Its header {REPLAYS} is {told[:100]!r} and should be a number.")
    if int(told) >= max_replays:
        return Refusal("exhausted", f"It was replayed {int(told)} times and prediction.max_replays is {max_replays}.")
    return int(told)
