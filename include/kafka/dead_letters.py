"""Dead letters: the original record, untouched, with the reason why it could not be used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.kafka.record import Address

if TYPE_CHECKING:
    from confluent_kafka import Message

# A dead letter is its original plus these headers: its topic takes records this much larger than the source's.
EXTRA_BYTES = 64 * 1024
ERROR_TEXT_BYTES = 1024

REASON = "dead-letter-reason"
ERROR = "dead-letter-error"
ADDRESS = "dead-letter-address"
RUN = "dead-letter-run"


@dataclass(frozen=True)
class Rejection:
    """Why one sample was refused: a reason code that programs compare and a sentence that people read."""

    reason: str
    error: str


def dead_letter(message: Message, rejection: Rejection, address: Address, run: str) -> dict[str, Any]:
    """The arguments of `TransactionalWriter.produce`, but for the topic."""
    error = rejection.error.encode()[:ERROR_TEXT_BYTES].decode("utf-8", "ignore").encode()
    return {
        "key": message.key(),
        "value": message.value(),
        "headers": [
            *(message.headers() or []),
            (REASON, rejection.reason.encode()),
            (ERROR, error),
            (ADDRESS, str(address).encode()),
            (RUN, run.encode()),
        ],
        "timestamp_ms": max(message.timestamp()[1], 0),
    }
