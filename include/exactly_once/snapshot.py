"""What the ledger holds at one moment, for reading only: it may change before anything that is based on it is written.

A step that decides what to write reads the ledger through its writer (`TransactionalWriter.read_ledger`), since only
then is every earlier owner fenced and this owner's past decided. An import contract keeps those steps from this module.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from include.exactly_once import ledger
from include.exactly_once.ledger import LedgerKey
from include.exactly_once.progress import progress_scope
from include.kafka.errors import ReaderStalled, TopicMissing
from include.kafka.ranges import OffsetRange, available_offsets
from include.kafka.reader import read_range
from include.kafka.topics import describe_topics

if TYPE_CHECKING:
    from confluent_kafka import Message

    from include.kafka.connection import KafkaConnection

GROUP = "millrace-ledger-reader"
SETTLE_TIMEOUT_S = 90.0


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
        ReaderStalled: a transaction stayed open for longer than `settle_timeout_s`.
    """
    by_key = {key.encode(): key for key in keys}
    last: dict[LedgerKey, dict[str, Any] | None] = {}
    for message in _decided(connection, {key.partition for key in by_key.values()}, settle_timeout_s):
        if key := by_key.get(message.key() or b""):
            last[key] = _entry(message)
    return {key: entry for key, entry in last.items() if entry is not None}


def snapshot_ledger_below(
    connection: KafkaConnection, below: LedgerKey, *, settle_timeout_s: float = SETTLE_TIMEOUT_S
) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """What was committed for every scope that begins with `below.scope` and a slash, as (rest of the scope, entry).

    Of several entries of one scope the last counts; None stands for one that was deleted. They come one by one, since a
    step may have more of them than fit into memory. For the errors see `snapshot_ledger`.
    """
    prefix = below.encode() + b"/"
    for message in _decided(connection, range(ledger.PARTITIONS), settle_timeout_s):
        key = message.key() or b""
        if key.startswith(prefix):
            yield key[len(prefix) :].decode(), _entry(message)


def snapshot_progress(
    connection: KafkaConnection, pipeline: str, step: str, ranges: Iterable[OffsetRange]
) -> dict[int, Mapping[str, Any]]:
    """The entries of a step's progress by partition, for the partitions that have one."""
    keys = {item.partition: LedgerKey(connection.environment, pipeline, step, progress_scope(item)) for item in ranges}
    entries = snapshot_ledger(connection, keys.values())
    return {partition: entries[key] for partition, key in keys.items() if key in entries}


def _entry(message: Message) -> dict[str, Any] | None:
    # A record without a value is how Kafka deletes a key, and how a person deletes an entry.
    value = message.value()
    return None if value is None else json.loads(value)


def _decided(connection: KafkaConnection, partitions: Collection[int], settle_timeout_s: float) -> Iterator[Message]:
    """Everything that was written to these partitions before now, once it is decided."""
    topic = ledger.LEDGER_TOPIC
    info = describe_topics(connection, [topic]).get(topic)
    if info is None:
        raise TopicMissing(
            f"The ledger topic {topic} does not exist at {connection.bootstrap_servers}: without it nothing shows what "
            "was published, so run the pipeline's ingest DAG, which creates it, or restore it."
        )
    bounds = available_offsets(connection, topic, partitions, committed=False)
    patient = replace(connection, timeout_s=settle_timeout_s)
    with connection.consumer(GROUP) as consumer:
        for partition, (first, end) in bounds.items():
            whole = OffsetRange(topic, info.topic_id, partition, first, end)
            try:
                for messages in read_range(patient, consumer, whole):
                    yield from messages
            except ReaderStalled as error:
                raise ReaderStalled(
                    f"Ledger {topic} partition {partition} stays undecided before offset {end} for "
                    f"{settle_timeout_s:g} s: a transaction of another step is open, or the broker is slow; try again "
                    "when it has ended."
                ) from error
