"""Restore the original record of a dead letter, or say why it has to stay dead."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from include.kafka.dead_letters import REASON, original_headers
from include.kafka.headers import UNREADABLE, Headers
from include.kafka.records import OutgoingRecord
from include.kafka.signing import SigningKeys
from include.refusal import Refusal

if TYPE_CHECKING:
    from confluent_kafka import Message


REPLAYS = "replays"

NUMBER = re.compile(rb"[0-9]{1,9}")


def reason_of(headers: Headers) -> str:
    """The reason code; empty where no header has one, as in a topic that other applications write to too."""
    return (dict(headers).get(REASON) or b"").decode("utf-8", "replace")


def restore(
    message: Message, headers: Headers, topic: str, *, max_replays: int, max_bytes: int, keys: SigningKeys | None
) -> OutgoingRecord | Refusal:
    """The original for `topic`: key, value and headers unchanged, and the header `replays`, how often it was replayed.

    Its timestamp is the time of sending, since retention goes by it. Its signature is unchanged and nothing is signed
    here: an unsigned record must not come out of the dead letters as a signed one.

    Args:
        headers: the message's, from `headers_of`.
        max_replays: a record that was replayed so often stays dead (`exhausted`), or it might circulate for ever.
        max_bytes: the largest record that `topic` takes (`oversize`).
        keys: where records are signed, the keys to verify signatures with (`unsigned`, `wrong-signature`,
            `unknown-key`).
    """
    if message.value() is None and reason_of(headers) == "oversize":
        return Refusal("oversize", "It was too large to be kept whole: send the original again.")
    original = original_headers(headers)
    if UNREADABLE in dict(original):
        return Refusal(UNREADABLE, "Its headers could not be read and are lost: send the original again.")
    if keys is not None and (refusal := keys.verify(message, headers)[1]) is not None:
        return refusal
    replays = _replays(original, max_replays)
    if isinstance(replays, Refusal):
        return replays
    kept = [header for header in original if header[0] != REPLAYS]
    record = OutgoingRecord(topic, message.key(), message.value(), [*kept, (REPLAYS, str(replays + 1).encode())])
    if record.size_bound > max_bytes:
        return Refusal("oversize", f"It has {record.size_bound} bytes with its headers and {topic} takes {max_bytes}.")
    return record


def _replays(headers: Sequence[tuple[str, bytes | None]], max_replays: int) -> int | Refusal:
    """How often the record was replayed, or a refusal if it must not be replayed once more."""
    count = dict(headers).get(REPLAYS, b"0") or b""
    if not NUMBER.fullmatch(count):
        return Refusal("exhausted", f"Its header {REPLAYS} is {count[:100]!r} and should be a number.")
    if int(count) >= max_replays:
        return Refusal("exhausted", f"It was replayed {int(count)} times and prediction.max_replays is {max_replays}.")
    return int(count)
