"""The ledger: what each step has done, written in the same transaction as its results."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.kafka.errors import ReaderStalled, TopicMissing
from include.kafka.ranges import available_offsets
from include.kafka.record import OutgoingRecord
from include.kafka.topics import TopicSpec, describe_topics

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection
    from include.kafka.transaction import TransactionalWriter

LEDGER_TOPIC = "millrace.ledger"
PARTITIONS = 8


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
    connection: KafkaConnection, keys: Iterable[LedgerKey], *, settle_timeout_s: float = 90.0
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
    wanted: dict[int, dict[bytes, LedgerKey]] = {}
    for key in keys:
        wanted.setdefault(_partition(key), {})[key.encode()] = key
    if LEDGER_TOPIC not in describe_topics(connection, [LEDGER_TOPIC]):
        raise TopicMissing(
            f"The ledger topic {LEDGER_TOPIC} does not exist at {connection.bootstrap_servers}: without it nobody "
            "knows what was published, so run the pipeline's ingest DAG, which creates it, or restore it."
        )
    bounds = available_offsets(connection, LEDGER_TOPIC, wanted, committed=False)
    entries: dict[LedgerKey, dict[str, Any]] = {}
    with connection.consumer("millrace-ledger-reader") as consumer:
        for partition, by_key in wanted.items():
            entries.update(_read_partition(consumer, partition, bounds[partition], by_key, settle_timeout_s))
    return entries


def _read_partition(
    consumer: Any, partition: int, bounds: tuple[int, int], by_key: Mapping[bytes, LedgerKey], settle_timeout_s: float
) -> dict[LedgerKey, dict[str, Any]]:
    from confluent_kafka import KafkaError, KafkaException, TopicPartition

    position, end = bounds
    if position >= end:
        return {}
    found: dict[LedgerKey, dict[str, Any] | None] = {}
    consumer.assign([TopicPartition(LEDGER_TOPIC, partition, position)])
    deadline = time.monotonic() + settle_timeout_s
    while position < end:
        for message in consumer.consume(min(1000, end - position), 0.05):
            error = message.error()
            if error is None:
                position = message.offset() + 1
                if key := by_key.get(message.key()):
                    # A record without a value is how Kafka forgets a key, and how a person takes an entry back.
                    value = message.value()
                    found[key] = None if value is None else json.loads(value)
            elif error.code() == KafkaError._PARTITION_EOF:
                position = max(position, message.offset())
            elif not error.retriable():
                raise KafkaException(error)
        if position < end and time.monotonic() > deadline:
            raise ReaderStalled(
                f"Ledger {LEDGER_TOPIC} partition {partition} stays undecided at offset {position} of {end} for "
                f"{settle_timeout_s:g} s: a transaction of another step is open; try again when it has ended."
            )
    return {key: entry for key, entry in found.items() if entry is not None}


def _partition(key: LedgerKey) -> int:
    """Fixed here rather than left to a client's partitioner, so that every reader knows where to look."""
    return zlib.crc32(key.encode()) % PARTITIONS
