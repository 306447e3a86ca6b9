"""The ledger: what each step has done, written in the same transaction as its results."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from include.kafka.errors import ReaderStalled, TopicMissing
from include.kafka.ranges import OffsetRange, available_offsets
from include.kafka.reader import read_range
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
    ledger = describe_topics(connection, [LEDGER_TOPIC]).get(LEDGER_TOPIC)
    if ledger is None:
        raise TopicMissing(
            f"The ledger topic {LEDGER_TOPIC} does not exist at {connection.bootstrap_servers}: without it nobody "
            "knows what was published, so run the pipeline's ingest DAG, which creates it, or restore it."
        )
    bounds = available_offsets(connection, LEDGER_TOPIC, wanted, committed=False)
    patient = replace(connection, timeout_s=settle_timeout_s)
    found: dict[LedgerKey, dict[str, Any]] = {}
    with connection.consumer("millrace-ledger-reader") as consumer:
        for partition, by_key in wanted.items():
            whole = OffsetRange(LEDGER_TOPIC, ledger.topic_id, partition, *bounds[partition])
            try:
                for messages in read_range(patient, consumer, whole):
                    for message in messages:
                        owner = by_key.get(message.key() or b"")
                        if owner is None:
                            continue
                        if (value := message.value()) is None:  # how Kafka forgets a key, and an entry is taken back
                            found.pop(owner, None)
                        else:
                            found[owner] = json.loads(value)
            except ReaderStalled as error:
                raise ReaderStalled(
                    f"Ledger {LEDGER_TOPIC} partition {partition} stays undecided before offset {whole.end} for "
                    f"{settle_timeout_s:g} s: a transaction of another step is open, or the broker is slow; try again "
                    "when it has ended."
                ) from error
    return found


def _partition(key: LedgerKey) -> int:
    """Fixed here rather than left to a client's partitioner, so that every reader knows where to look."""
    return zlib.crc32(key.encode()) % PARTITIONS
