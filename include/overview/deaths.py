"""The newest dead letters, by their reasons, for a person who finds out why records died."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from include.errors import printable
from include.exactly_once.snapshot import reader_group
from include.kafka import dead_letters
from include.kafka.headers import headers_of
from include.kafka.newest import newest_records
from include.kafka.ranges import log_histories
from include.kafka.records import Address, address_of
from include.overview.look import LIMITS
from include.overview.media import as_found
from include.overview.records import record_at
from include.overview.remedies import REMEDIES, UNKNOWN
from include.refusal import REASONS

if TYPE_CHECKING:
    from confluent_kafka import Message

    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection

# How many of the newest are counted by reason.
COUNTED = 1000
SHOWN_VALUE = 4096
# A code of our own is shorter.
LONGEST_REASON = 64


class WithReason:
    """What has a reason, for a person."""

    reason: str

    @property
    def meaning(self) -> str:
        return REASONS.get(self.reason, "no reason of this project")

    @property
    def remedy(self) -> str:
        return REMEDIES.get(self.reason, UNKNOWN)


@dataclass(frozen=True)
class Letter(WithReason):
    """A dead letter.

    Attributes:
        at_ms: when it died, in milliseconds since 1970.
        reason, error: why, as its headers say.
        origin: the address of the original.
        run: that published it.
        key, value, headers: as found, as text with escapes, cut.
        replayed: whether it was sent back to the requests.
    """

    address: Address
    at_ms: int
    reason: str
    error: str
    origin: str
    run: str
    key: str
    value: str
    headers: tuple[tuple[str, str], ...]
    replayed: bool = False


@dataclass
class ReasonCount(WithReason):
    """How many of the newest dead letters have a reason or were replayed, and when the first and last of them died."""

    reason: str
    first_ms: int
    last_ms: int
    count: int = 0
    replayed: int = 0


@dataclass(frozen=True)
class NewestDeadLetters:
    """The newest dead letters.

    Attributes:
        letters: those that were asked for, the newest first.
        reasons: of the newest `COUNTED`, the most frequent first.
        counted: how many those are.
        complete: whether they are all that the topic has.
    """

    letters: tuple[Letter, ...] = ()
    reasons: tuple[ReasonCount, ...] = ()
    counted: int = 0
    complete: bool = True
    times: tuple[int, ...] = field(default=(), repr=False)


def newest_dead_letters(
    connection: KafkaConnection,
    pipeline: Pipeline,
    number: int,
    *,
    reason: str = "",
    replayed: Collection[str] = frozenset(),
) -> NewestDeadLetters:
    """The newest dead letters, at most `number` of them.

    Args:
        reason: only those with this code; empty for all.
        replayed: those that were replayed, see `LedgerView.replayed`.

    Raises:
        BrokerUnavailable, AccessDenied, RangeUnavailable, ReaderStalled: see include.kafka.
    """
    topic = pipeline.dead_letters_topic
    log = log_histories(connection, [topic]).get(topic)
    if log is None:
        return NewestDeadLetters()
    group = reader_group(connection.environment)
    messages, complete = newest_records(connection, group, log.ranges, COUNTED, limits=LIMITS)
    reasons: dict[str, ReasonCount] = {}
    wanted: list[Letter] = []
    for message in messages:
        found, died = reason_of(message), message.timestamp()[1]
        again = f"{log.topic_id}/{address_of(message)}" in replayed
        seen = reasons.setdefault(found, ReasonCount(found, died, died))
        seen.count += 1
        seen.replayed += again
        seen.first_ms, seen.last_ms = min(seen.first_ms, died), max(seen.last_ms, died)
        if reason in ("", found) and len(wanted) < number:
            wanted.append(replace(letter(message), replayed=again))
    return NewestDeadLetters(
        letters=tuple(wanted),
        reasons=tuple(sorted(reasons.values(), key=lambda seen: (-seen.count, seen.reason))),
        counted=len(messages),
        complete=complete and len(messages) < COUNTED,
        times=tuple(message.timestamp()[1] for message in messages),
    )


def dead_letter_at(
    connection: KafkaConnection,
    pipeline: Pipeline,
    partition: int,
    offset: int,
    *,
    replayed: Collection[str] = frozenset(),
) -> Letter | None:
    """The dead letter at a place; None where there is none. See `newest_dead_letters`."""
    topic = pipeline.dead_letters_topic
    log = log_histories(connection, [topic]).get(topic)
    if log is None:
        return None
    address = Address(topic, partition, offset)
    message = record_at(connection, reader_group(connection.environment), log, address)
    return None if message is None else replace(letter(message), replayed=f"{log.topic_id}/{address}" in replayed)


def letter(message: Message) -> Letter:
    """A dead letter as a person reads it."""
    headers = headers_of([message])[0]
    own = dict(headers)
    texts = {name: as_found(own[name]) if name in own else "not known" for name in dead_letters.EXPLAINING}
    return Letter(
        address=address_of(message),
        at_ms=message.timestamp()[1],
        reason=reason_of(message),
        error=texts[dead_letters.ERROR],
        origin=texts[dead_letters.ADDRESS],
        run=texts[dead_letters.RUN],
        key=as_found(message.key()),
        value=as_found(message.value(), SHOWN_VALUE),
        headers=tuple(
            (as_found(name.encode("utf-8", "replace")), as_found(content))
            for name, content in headers[:40]
            if name not in dead_letters.EXPLAINING
        ),
    )


def reason_of(message: Message) -> str:
    """The code of a dead letter as text; another program may have written anything there."""
    content = dict(headers_of([message])[0]).get(dead_letters.REASON)
    return printable((content or b"unknown").decode("utf-8", "replace")[:LONGEST_REASON])
