"""What the ledger holds at one moment, for reading only: it may change before anything that is based on it is written.

A step that decides what to write reads the ledger through its writer (`TransactionalWriter.read_ledger`), since only
then is every earlier owner fenced and this owner's past decided. An import contract keeps those steps from this module.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from include.exactly_once import ledger
from include.exactly_once.ledger import LedgerKey, parse_entry, partition_of
from include.exactly_once.progress import progress_scope
from include.kafka.connection import KafkaConnection
from include.kafka.environment import in_environment
from include.kafka.errors import LedgerDamaged, ReaderStalled, TopicMissing
from include.kafka.ranges import OffsetRange, available_offsets
from include.kafka.reader import read_range
from include.kafka.topics import describe_topics

if TYPE_CHECKING:
    from confluent_kafka import Message


GROUP = "millrace-ledger-reader"
SETTLE_TIMEOUT_S = 90.0


def reader_group(environment: str) -> str:
    """The group of who only reads: each step's principal may describe it, as Kafka asks of a reader with a group."""
    return in_environment(environment, GROUP)


def snapshot_ledger(
    connection: KafkaConnection, keys: Iterable[LedgerKey], *, settle_timeout_s: float = SETTLE_TIMEOUT_S
) -> dict[LedgerKey, dict[str, Any]]:
    """The last committed entry of each key that has one.

    An open transaction hides the records behind it from a read_committed reader, so the reading goes on until all that
    was written before it began is decided.

    Args:
        settle_timeout_s: how long to wait for open transactions; longer than their timeout, after which the broker
            aborts them.

    Raises:
        TopicMissing: there is no ledger; to take that for an empty one would publish everything again.
        LedgerDamaged: the last entry of one of the keys is not one that a step has written.
        ReaderStalled: a transaction stayed open for longer than `settle_timeout_s`.
    """
    by_key = {key.encode(): key for key in keys}
    last: dict[LedgerKey, Message] = {}
    for message in _decided(connection, {key.partition for key in by_key.values()}, settle_timeout_s):
        if key := by_key.get(message.key() or b""):
            last[key] = message
    entries = {key: parse_entry(message, connection.signing) for key, message in last.items()}
    return {key: entry for key, entry in entries.items() if entry is not None}


def snapshot_ledger_below(connection: KafkaConnection, below: LedgerKey) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """What was committed for every scope that begins with `below.scope` and a slash, as (rest of the scope, entry).

    Of several entries of one scope the last counts; None stands for one that was deleted. They come one by one, since a
    step may have more of them than fit into memory. A damaged one comes as None and, if it is the last of its scope, is
    raised at the end. For the errors see `snapshot_ledger`.
    """
    prefix = below.encode() + b"/"
    damaged: dict[bytes, LedgerDamaged] = {}
    for message in _decided(connection, range(ledger.PARTITIONS), SETTLE_TIMEOUT_S):
        key = message.key() or b""
        if not key.startswith(prefix):
            continue
        damaged.pop(key, None)
        try:
            entry = parse_entry(message, connection.signing)
        except LedgerDamaged as error:
            damaged[key] = error
            entry = None
        yield key[len(prefix) :].decode("utf-8", "replace"), entry
    for unread in damaged.values():
        raise unread


def newest_of_pipeline(connection: KafkaConnection, pipeline: str) -> list[Message]:
    """The newest record of each key of a pipeline, in the order of the keys, for a person to look at."""
    prefix = f"{connection.environment}/{pipeline}/".encode()
    last: dict[bytes, Message] = {}
    for message in _decided(connection, range(ledger.PARTITIONS), SETTLE_TIMEOUT_S):
        if (key := message.key() or b"").startswith(prefix):
            last[key] = message
    return [message for _, message in sorted(last.items())]


def snapshot_progress(
    connection: KafkaConnection, pipeline: str, step: str, ranges: Iterable[OffsetRange]
) -> dict[int, Mapping[str, Any]]:
    """The entries of a step's progress by partition, for the partitions that have one."""
    keys = {item.partition: LedgerKey(connection.environment, pipeline, step, progress_scope(item)) for item in ranges}
    entries = snapshot_ledger(connection, keys.values())
    return {partition: entries[key] for partition, key in keys.items() if key in entries}


def _decided(connection: KafkaConnection, partitions: Collection[int], settle_timeout_s: float) -> Iterator[Message]:
    """Everything that was written to these partitions before now, once it is decided."""
    topic = ledger.ledger_name(connection.environment)
    info = describe_topics(connection, [topic]).get(topic)
    if info is None:
        raise TopicMissing(
            f"The ledger topic {topic} does not exist at {connection.bootstrap_servers}: without it nothing shows what "
            "was published, so run the pipeline's ingest DAG, which creates it, or restore it."
        )
    bounds = available_offsets(connection, topic, partitions, committed=False)
    patient = replace(connection, timeout_s=settle_timeout_s)
    with connection.consumer(reader_group(connection.environment)) as consumer:
        for partition, (first, end) in bounds.items():
            whole = OffsetRange(topic, info.topic_id, partition, first, end)
            try:
                for messages in read_range(patient, consumer, whole):
                    # No step writes a key to another partition, whose records have no order with those of its own.
                    yield from (each for each in messages if partition_of(each.key() or b"") == partition)
            except ReaderStalled as error:
                raise ReaderStalled(
                    f"Ledger {topic} partition {partition} stays undecided before offset {end} for "
                    f"{settle_timeout_s:g} s: a transaction of another step is open, or the broker is slow; try again "
                    "when it has ended."
                ) from error
