"""Dead letters: the original record, untouched, with the reason why it could not be used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.kafka.record import OutgoingRecord, address_of, headers_of

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


@dataclass(frozen=True)
class Rejection:
    """Why one sample was refused: a reason code that programs compare and a sentence that people read."""

    reason: str
    error: str


def dead_letter(topic: str, message: Message, rejection: Rejection, run: str) -> OutgoingRecord:
    """The original key, value and headers, and the headers that explain it.

    Its own timestamp is the time of publishing. Kafka refuses one too far in the future, and with it the transaction;
    retention removes an old one before anybody has looked. The original's is a header, in milliseconds since the epoch.
    """
    error = rejection.error.encode()[:ERROR_TEXT_BYTES].decode("utf-8", "ignore").encode()
    return OutgoingRecord(
        topic,
        message.key(),
        message.value(),
        [
            *headers_of([message])[0],
            (REASON, rejection.reason.encode()),
            (ERROR, error),
            (ADDRESS, str(address_of(message)).encode()),
            (RUN, run.encode()),
            (TIMESTAMP, str(message.timestamp()[1]).encode()),
        ],
    )
