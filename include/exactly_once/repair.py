"""Repairs of the ledger by a person, who replaces, deletes or signs entries; the ledger keeps who did it and why."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from include.exactly_once.attempt import Attempt, Step
from include.exactly_once.ledger import LedgerKey, parse_entry, parse_key
from include.exactly_once.snapshot import newest_of_pipeline
from include.kafka.connection import KafkaConnection
from include.kafka.errors import LedgerDamaged
from include.kafka.headers import headers_of

if TYPE_CHECKING:
    from confluent_kafka import Message


log = logging.getLogger(__name__)

# The step of the entries that record repairs; their scopes are times.
REPAIR: Step = "repair"


@dataclass(frozen=True)
class StoredEntry:
    """The newest record of a key.

    Attributes:
        entry: its fields; None where there are none, as it is damaged or deletes its key's entry.
        damage: why a step refuses it; None for a good one.
        can_sign: a signature is all that it lacks, or it is one of a retired key.
    """

    message: Message
    key: LedgerKey
    entry: dict[str, Any] | None
    damage: str | None
    can_sign: bool


def read_entries(connection: KafkaConnection, pipeline: str) -> list[StoredEntry]:
    """The newest record of each key of a pipeline, in the order of the keys.

    Raises:
        TopicMissing, ReaderStalled: see `include.exactly_once.snapshot.snapshot_ledger`.
    """
    return [_stored(message, connection) for message in newest_of_pipeline(connection, pipeline)]


def _stored(message: Message, connection: KafkaConnection) -> StoredEntry:
    signing = connection.signing
    key, damage, entry, can_sign = parse_key(message.key() or b""), None, None, False
    try:
        entry = parse_entry(message, signing)
    except LedgerDamaged as error:
        damage = str(error)
    if signing is not None:
        refusal = signing.verify_entry(message.key() or b"", message.value(), headers_of([message])[0])
        retired = refusal is None and not signing.is_current(headers_of([message])[0])
        try:
            parse_entry(message, None)
            can_sign = retired or (refusal is not None and refusal.reason == "unsigned")
        except LedgerDamaged:
            can_sign = False
    return StoredEntry(message, key, entry, damage, can_sign)


def write_entry(
    connection: KafkaConnection, key: LedgerKey, entry: Mapping[str, Any] | None, *, by: str, reason: str
) -> None:
    """Replace a key's entry, or delete it, and record that a person did so; no step may run meanwhile.

    Args:
        entry: with the form of the step's entries; None deletes the key's.
    """
    _write(connection, key.pipeline, {key: entry}, {"by": by, "reason": reason, "entries": [key.encode().decode()]})


def sign_entries(connection: KafkaConnection, pipeline: str, *, by: str) -> int:
    """Sign the entries whose signature is missing or a retired key's; returns how many.

    An entry with a wrong signature is left as it is.
    """
    entries = [stored for stored in read_entries(connection, pipeline) if stored.can_sign]
    values = {stored.key: parse_entry(stored.message, None) for stored in entries}
    if values:
        _write(connection, pipeline, values, {"by": by, "reason": "signed", "entries": len(values)})
    return len(values)


def _write(
    connection: KafkaConnection,
    pipeline: str,
    entries: Mapping[LedgerKey, Mapping[str, Any] | None],
    record: Mapping[str, Any],
) -> None:
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    attempt = Attempt(connection, pipeline, REPAIR, run=now)
    with attempt.writer() as writer, writer.transaction():
        for key, entry in entries.items():
            writer.write_ledger(key, entry)
        writer.write_ledger(attempt.key(now), record)
    log.warning("The ledger of %s was changed by %s: %s.", pipeline, record["by"], dict(record))
