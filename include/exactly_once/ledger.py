"""The ledger: what each step has done, written in the same transaction as its results."""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from include.kafka.errors import ReaderStalled, TopicMissing
from include.kafka.ranges import OffsetRange, available_offsets
from include.kafka.reader import read_range
from include.kafka.records import OutgoingRecord
from include.kafka.topics import TopicSpec, describe_topics

if TYPE_CHECKING:
    from confluent_kafka import Message

    from include.exactly_once.transaction import TransactionalWriter
    from include.kafka.connection import KafkaConnection

LEDGER_TOPIC = "millrace.ledger"
PARTITIONS = 8
SETTLE_TIMEOUT_S = 90.0


@dataclass(frozen=True)
class LedgerKey:
    """Who keeps the entry: a step of a pipeline, for one scope (a batch, or a topic's partition)."""

    environment: str
    pipeline: str
    step: str
    scope: str

    def encode(self) -> bytes:
        return "/".join((self.environment, self.pipeline, self.step, self.scope)).encode()


def ledger_topic(replication: int = 1) -> TopicSpec:
    """The ledger's topic: compacted, so that it keeps the last entry of every key for ever."""
    return TopicSpec(
        LEDGER_TOPIC,
        partitions=PARTITIONS,
        replication=replication,
        config={
            "cleanup.policy": "compact",
            "min.cleanable.dirty.ratio": "0.1",
            "segment.bytes": str(16 * 1024 * 1024),
        },
    )


def record(writer: TransactionalWriter, key: LedgerKey, entry: Mapping[str, Any]) -> None:
    """Add an entry to the writer's open transaction."""
    value = json.dumps(entry, sort_keys=True, allow_nan=False).encode()
    writer.produce(OutgoingRecord(LEDGER_TOPIC, key.encode(), value, partition=_partition(key)))


def read(
    connection: KafkaConnection, keys: Iterable[LedgerKey], *, settle_timeout_s: float = SETTLE_TIMEOUT_S
) -> dict[LedgerKey, dict[str, Any]]:
    """The last committed entry of each key that has one.

    Call it after `init_transactions`: from then on this owner's past is decided. Another owner's open transaction may
    still hide the end of the log from a read_committed reader, so the reading goes on until all that was written
    before it began is decided.

    Args:
        settle_timeout_s: how long to wait for foreign transactions; longer than their timeout, after which the broker
            aborts them.

    Raises:
        TopicMissing: there is no ledger; taking that for an empty one would publish everything again.
        ReaderStalled: a foreign transaction stayed open for longer than `settle_timeout_s`.
    """
    by_key = {key.encode(): key for key in keys}
    found: dict[LedgerKey, dict[str, Any] | None] = {}
    for message in _decided(connection, {_partition(key) for key in by_key.values()}, settle_timeout_s):
        if key := by_key.get(message.key() or b""):
            found[key] = _entry(message)
    return {key: entry for key, entry in found.items() if entry is not None}


def read_below(
    connection: KafkaConnection, below: LedgerKey, *, settle_timeout_s: float = SETTLE_TIMEOUT_S
) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """What was committed for every scope that begins with `below.scope` and a slash, as (rest of the scope, entry).

    Of the entries of one scope the last counts; None is one that was taken back. They come one by one, for a step may
    have more of them than fit into memory. When to call it and what is raised: see `read`.
    """
    prefix = below.encode() + b"/"
    for message in _decided(connection, range(PARTITIONS), settle_timeout_s):
        key = message.key() or b""
        if key.startswith(prefix):
            yield key[len(prefix) :].decode(), _entry(message)


def _entry(message: Message) -> dict[str, Any] | None:
    # A record without a value is how Kafka forgets a key, and how a person takes an entry back.
    value = message.value()
    return None if value is None else json.loads(value)


def _decided(connection: KafkaConnection, partitions: Collection[int], settle_timeout_s: float) -> Iterator[Message]:
    """All that these partitions hold and that was written before now, once it is decided."""
    ledger = describe_topics(connection, [LEDGER_TOPIC]).get(LEDGER_TOPIC)
    if ledger is None:
        raise TopicMissing(
            f"The ledger topic {LEDGER_TOPIC} does not exist at {connection.bootstrap_servers}: without it nobody "
            "knows what was published, so run the pipeline's ingest DAG, which creates it, or restore it."
        )
    bounds = available_offsets(connection, LEDGER_TOPIC, partitions, committed=False)
    patient = replace(connection, timeout_s=settle_timeout_s)
    with connection.consumer("millrace-ledger-reader") as consumer:
        for partition, (first, end) in bounds.items():
            whole = OffsetRange(LEDGER_TOPIC, ledger.topic_id, partition, first, end)
            try:
                for messages in read_range(patient, consumer, whole):
                    yield from messages
            except ReaderStalled as error:
                raise ReaderStalled(
                    f"Ledger {LEDGER_TOPIC} partition {partition} stays undecided before offset {end} for "
                    f"{settle_timeout_s:g} s: a transaction of another step is open, or the broker is slow; try again "
                    "when it has ended."
                ) from error


def _partition(key: LedgerKey) -> int:
    """Fixed here rather than left to a client's partitioner, so that every reader knows where to look."""
    return zlib.crc32(key.encode()) % PARTITIONS
