"""Dead letters: the original record, unchanged, with headers that explain why it was refused.

The codes of the header `dead-letter-reason` are those of `REASONS` in `include.refusal`.
"""

from __future__ import annotations

import re

from include.kafka.headers import Headers
from include.kafka.records import ConsumedRecord, OutgoingRecord
from include.refusal import Refusal

# A dead letter is its original plus these headers: its topic accepts records this much larger than the source topic.
EXTRA_BYTES = 64 * 1024
ERROR_TEXT_BYTES = 1024

REASON = "dead-letter-reason"
ERROR = "dead-letter-error"
ADDRESS = "dead-letter-address"
RUN = "dead-letter-run"
TIMESTAMP = "dead-letter-timestamp"
EXPLAINING = frozenset({REASON, ERROR, ADDRESS, RUN, TIMESTAMP})

# The original's own headers with such names are kept under another name, so that only ours explain a dead letter.
KEPT = "original-"
FOREIGN = re.compile(rf"(?:{KEPT})*dead-letter-.*", re.DOTALL)
KEPT_FOREIGN = re.compile(rf"(?:{KEPT})+dead-letter-.*", re.DOTALL)


def dead_letter(
    topic: str, original: ConsumedRecord, refusal: Refusal, run: str, *, largest: int
) -> tuple[OutgoingRecord, Refusal]:
    """The original key, value and headers with explaining headers, and the refusal in them.

    A header of the original whose name begins with `dead-letter-` is kept as `original-dead-letter-`....

    A dead letter that is too large loses its value, then its headers, then its key, and its refusal becomes `oversize`:
    a record that cannot be published would block all others, and the address finds the original.

    Its timestamp is the time of publishing: Kafka refuses one too far in the future, and with it the transaction, and
    retention would remove an old one at once. A header has the original's, in milliseconds since the epoch.

    Args:
        largest: the largest record that the topic accepts, in bytes.
    """
    headers = [(f"{KEPT}{name}" if FOREIGN.fullmatch(name) else name, content) for name, content in original.headers]
    letter = OutgoingRecord(topic, original.key, original.value, [*headers, *_explanation(original, refusal, run)])
    if letter.size_bound <= largest:
        return letter, refusal
    refusal = Refusal(
        "oversize",
        f"The dead letter has {letter.size_bound} bytes ({len(original.value or b'')} of value, "
        f"{len(original.key or b'')} of key) "
        f"and {topic} takes {largest}, so it is cut; its reason was {refusal}",
    )
    letter = letter._replace(value=None, headers=[*headers, *_explanation(original, refusal, run)])
    if letter.size_bound > largest:
        letter = letter._replace(headers=_explanation(original, refusal, run))
    if letter.size_bound > largest:
        letter = letter._replace(key=None)
    return letter, refusal


def original_headers(headers: Headers) -> list[tuple[str, bytes | None]]:
    return [
        (name.removeprefix(KEPT) if KEPT_FOREIGN.fullmatch(name) else name, content)
        for name, content in headers
        if name not in EXPLAINING
    ]


def _explanation(original: ConsumedRecord, refusal: Refusal, run: str) -> list[tuple[str, bytes | None]]:
    error = refusal.error[:ERROR_TEXT_BYTES].encode("utf-8", "backslashreplace")[:ERROR_TEXT_BYTES]
    return [
        (REASON, refusal.reason.encode()),
        (ERROR, error.decode("utf-8", "ignore").encode()),
        (ADDRESS, str(original.address).encode()),
        (RUN, run.encode()),
        (TIMESTAMP, str(original.timestamp_ms).encode()),
    ]
