"""A dead letter read back: the record that it was, or why it has to stay dead."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from include.kafka.dead_letters import REASON, Rejection
from include.kafka.record import OutgoingRecord

if TYPE_CHECKING:
    from confluent_kafka import Message

    from include.kafka.signing import SigningKeys

REPLAYS = "replays"
EXPLAINING = "dead-letter-"
NUMBER = re.compile(rb"[0-9]{1,9}")

EXHAUSTED = "exhausted"
OVERSIZE = "oversize"


def reason_of(message: Message) -> str:
    """Why the record died; empty where no header says so, as in a topic that others write to as well."""
    return (dict(_headers(message)).get(REASON) or b"").decode("utf-8", "replace")


def revive(
    message: Message, topic: str, *, max_replays: int, max_bytes: int, keys: SigningKeys | None
) -> OutgoingRecord | Rejection:
    """The original for `topic`: key, value and headers untouched, and `replays`, how often it was sent again.

    Its timestamp is that of sending, for retention goes by it. Its signature stays what it was, and nothing is ever
    signed here: a record that nobody had signed must not come out of the dead letters as a signed one.

    Args:
        keys: where records are signed, the keys that a signature must be of (`unsigned`, `wrong-signature`,
            `unknown-key`).
        max_replays: what was replayed so often stays dead (`exhausted`), or it might go round for ever.
        max_bytes: the largest record that `topic` takes (`oversize`).
    """
    if message.value() is None and reason_of(message) == OVERSIZE:
        return Rejection(OVERSIZE, "Its value was too large to be kept: send the original again.")
    if keys is not None and (fault := keys.verify(message)[1]) is not None:
        return fault
    original = [header for header in _headers(message) if not header[0].startswith(EXPLAINING)]
    replays = dict(original).get(REPLAYS, b"0")
    if not NUMBER.fullmatch(replays or b""):
        return Rejection(EXHAUSTED, f"Its header {REPLAYS} is {replays!r} and should be a number.")
    if int(replays) >= max_replays:
        return Rejection(
            EXHAUSTED, f"It was replayed {int(replays)} times and prediction.max_replays is {max_replays}."
        )
    headers = [header for header in original if header[0] != REPLAYS]
    record = OutgoingRecord(
        topic, message.key(), message.value(), [*headers, (REPLAYS, str(int(replays) + 1).encode())]
    )
    if record.size_bound > max_bytes:
        return Rejection(OVERSIZE, f"It has {record.size_bound} bytes with its headers and {topic} takes {max_bytes}.")
    return record


def _headers(message: Message) -> list[tuple[str, bytes]]:
    return cast("list[tuple[str, bytes]]", message.headers() or [])
