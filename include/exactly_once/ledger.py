"""The ledger: what each step has done, written in the same transaction as its results."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.exactly_once.entries import read_entry
from include.kafka.environment import LOCAL, in_environment
from include.kafka.errors import LedgerDamaged
from include.kafka.headers import headers_of
from include.kafka.records import OutgoingRecord
from include.kafka.signing import SigningKeys
from include.kafka.topics import BROKER_DEFAULT, TopicSpec

if TYPE_CHECKING:
    from confluent_kafka import Message

# This is the ledger's name in the environment `local`; see `ledger_name` for others.
LEDGER_TOPIC = "millrace.ledger"
PARTITIONS = 8


@dataclass(frozen=True)
class LedgerKey:
    """What an entry is about: a step of a pipeline, and one scope of it (a batch, or a topic's partition)."""

    environment: str
    pipeline: str
    step: str
    scope: str

    def encode(self) -> bytes:
        return "/".join((self.environment, self.pipeline, self.step, self.scope)).encode()

    @property
    def topic(self) -> str:
        return ledger_name(self.environment)

    @property
    def partition(self) -> int:
        return partition_of(self.encode())


def parse_key(key: bytes) -> LedgerKey:
    """The parts of an entry's key; those that it lacks are empty."""
    parts = key.decode("utf-8", "backslashreplace").split("/", 3)
    return LedgerKey(*(*parts, "", "", "")[:4])


def partition_of(key: bytes) -> int:
    """Computed here and not by a client's partitioner, so that every reader knows which partition has the entry."""
    return zlib.crc32(key) % PARTITIONS


def ledger_name(environment: str) -> str:
    return in_environment(environment, LEDGER_TOPIC)


def ledger_topic(replication: int = BROKER_DEFAULT, *, environment: str = LOCAL) -> TopicSpec:
    """An environment's ledger topic: compacted, so that it keeps the last entry of every key."""
    return TopicSpec(
        ledger_name(environment),
        partitions=PARTITIONS,
        replication=replication,
        config={
            "cleanup.policy": "compact",
            "min.cleanable.dirty.ratio": "0.1",
            "segment.bytes": str(16 * 1024 * 1024),
        },
    )


def ledger_record(key: LedgerKey, entry: Mapping[str, Any] | None, signing: SigningKeys | None) -> OutgoingRecord:
    """The record of an entry; None deletes the key's.

    Args:
        signing: where the pipeline's records are signed, its entries are too.

    Raises:
        ValueError: the entry is not JSON.
    """
    value = None if entry is None else json.dumps(entry, sort_keys=True, allow_nan=False).encode()
    headers = [] if signing is None else [signing.sign_entry(key.encode(), value)]
    return OutgoingRecord(key.topic, key.encode(), value, headers, partition=key.partition)


def parse_entry(message: Message, signing: SigningKeys | None) -> dict[str, Any] | None:
    """The entry of a record of the ledger; None where it deletes its key's.

    Only the newest record of a key counts, so only that one is parsed.

    Raises:
        LedgerDamaged: it has not the form of its step's entries, or no valid signature where those are signed.
    """
    key, value = message.key() or b"", message.value()
    named = parse_key(key)
    refusal = None if signing is None else signing.verify_entry(key, value, headers_of([message])[0])
    if refusal is not None:
        raise damaged(
            message,
            f"{refusal.error.rstrip('.')}, and the pipeline has [signing]",
            f"if the entry is right, `millrace ledger sign {named.pipeline}` signs it",
        )
    # A record without a value is how Kafka deletes a key, and how a person deletes an entry.
    if value is None:
        return None
    try:
        return read_entry(named.step, named.scope, value)
    except ValueError as error:
        raise damaged(
            message, str(error), f"look at it with `millrace ledger show {named.pipeline}` and correct it with `repair`"
        ) from error


def damaged(message: Message, fault: str, remedy: str) -> LedgerDamaged:
    """The error for an entry, with its key and its place."""
    return LedgerDamaged(
        f"The ledger's entry {message.key() or b''!r:.200} at offset {message.offset()} of partition "
        f"{message.partition()} of {message.topic()} is not one that a step has written ({fault}): nothing was done; "
        f"find out who writes to the topic, then {remedy}."
    )
