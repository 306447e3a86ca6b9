"""Dead letters: the original record, untouched, with the reason why it could not be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.kafka.headers import headers_of
from include.kafka.records import OutgoingRecord, address_of
from include.refusal import Refusal

if TYPE_CHECKING:
    from confluent_kafka import Message

# A dead letter is its original plus these headers: its topic takes records this much larger than the source's.
EXTRA_BYTES = 64 * 1024
ERROR_TEXT_BYTES = 1024

REASON = "dead-letter-reason"
ERROR = "dead-letter-error"
ADDRESS = "dead-letter-address"
RUN = "dead-letter-run"
TIMESTAMP = "dead-letter-timestamp"


def dead_letter(
    topic: str, message: Message, refusal: Refusal, run: str, *, largest: int
) -> tuple[OutgoingRecord, Refusal]:
    """The original key, value and headers with the headers that explain it, and the refusal that they tell.

    Where that is too large it is the explanation without the value, in need without headers and key too, and the
    refusal is `oversize`: what can't be published would stop all others, and the original lies at its address.

    Its own timestamp is the time of publishing. Kafka refuses one too far in the future, and with it the transaction;
    retention removes an old one before anybody has looked. The original's is a header, in milliseconds since the epoch.

    Args:
        largest: the largest record that the topic takes, in bytes.
    """
    headers = headers_of([message])[0]
    letter = OutgoingRecord(topic, message.key(), message.value(), [*headers, *_explanation(message, refusal, run)])
    if letter.size_bound <= largest:
        return letter, refusal
    refusal = Refusal(
        "oversize",
        f"The dead letter has {letter.size_bound} bytes ({len(message)} of value, {len(message.key() or b'')} of key) "
        f"and {topic} takes {largest}, so it is cut; its reason was {refusal}",
    )
    letter = letter._replace(value=None, headers=[*headers, *_explanation(message, refusal, run)])
    if letter.size_bound > largest:
        letter = letter._replace(headers=_explanation(message, refusal, run))
    if letter.size_bound > largest:
        letter = letter._replace(key=None)
    return letter, refusal


def _explanation(message: Message, refusal: Refusal, run: str) -> list[tuple[str, bytes | None]]:
    error = refusal.error[:ERROR_TEXT_BYTES].encode("utf-8", "backslashreplace")[:ERROR_TEXT_BYTES]
    return [
        (REASON, refusal.reason.encode()),
        (ERROR, error.decode("utf-8", "ignore").encode()),
        (ADDRESS, str(address_of(message)).encode()),
        (RUN, run.encode()),
        (TIMESTAMP, str(message.timestamp()[1]).encode()),
    ]
