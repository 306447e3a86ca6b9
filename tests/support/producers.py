"""Independent producers: what any other application might write. They share no code with the writer under test."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from confluent_kafka import Producer

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection

TIMEOUT_S = 30
# A topic's retention is measured against timestamps: what is dated years back is soon removed.
NOW_MS = int(time.time() * 1000)


@dataclass(frozen=True)
class Record:
    """A record to write."""

    value: bytes | None = b"value"
    key: bytes | None = b"key"
    headers: Sequence[tuple[str, bytes | None]] = ()
    timestamp_ms: int = 0


def numbered(*numbers: int) -> list[Record]:
    """Records whose values are these numbers."""
    return [Record(value=str(number).encode()) for number in numbers]


def produce(
    kafka: KafkaConnection, topic: str, records: Iterable[Record], *, partition: int = 0, compression: str = "none"
) -> None:
    """Write records outside any transaction and see each one delivered."""
    failures: list[str] = []
    # Idempotent, for only such a producer keeps the order when it has to try again.
    settings = {"enable.idempotence": True, "message.max.bytes": 100_000_000, "linger.ms": 5}
    producer = Producer({**kafka.settings, **settings, "compression.type": compression})
    for record in records:
        _queue(producer, topic, record, partition, failures)
    assert producer.flush(TIMEOUT_S) == 0
    assert failures == []


@contextmanager
def open_transaction(kafka: KafkaConnection, name: str, *, timeout_s: float = 60) -> Iterator[Producer]:
    """A producer in a transaction of its own; the test commits or aborts it, and what it leaves open is aborted."""
    milliseconds = int(timeout_s * 1000)
    producer = Producer(
        {**kafka.settings, "transactional.id": name, "transaction.timeout.ms": milliseconds, "linger.ms": 100}
    )
    producer.init_transactions(TIMEOUT_S)
    producer.begin_transaction()
    try:
        yield producer
    finally:
        producer.close()


def produce_in(producer: Producer, topic: str, records: Iterable[Record], *, partition: int = 0) -> None:
    """Write records in the producer's open transaction until they lie in the log."""
    failures: list[str] = []
    for record in records:
        _queue(producer, topic, record, partition, failures)
    assert producer.flush(TIMEOUT_S) == 0
    assert failures == []


def commit(kafka: KafkaConnection, topic: str, records: Iterable[Record], *, partition: int = 0) -> None:
    """Write records in one committed transaction, which leaves its marker behind them."""
    with open_transaction(kafka, f"commit-{uuid4()}") as producer:
        produce_in(producer, topic, records, partition=partition)
        producer.commit_transaction(TIMEOUT_S)


def abort(kafka: KafkaConnection, topic: str, records: Iterable[Record], *, partition: int = 0) -> None:
    """Write records that nobody may ever see, and the marker that says so."""
    with open_transaction(kafka, f"abort-{uuid4()}") as producer:
        produce_in(producer, topic, records, partition=partition)
        producer.abort_transaction(TIMEOUT_S)


def _queue(producer: Producer, topic: str, record: Record, partition: int, failures: list[str]) -> None:
    producer.produce(
        topic,
        record.value,
        record.key,
        partition,
        headers=list(record.headers),
        timestamp=record.timestamp_ms,
        on_delivery=lambda error, _: failures.append(str(error)) if error else None,
    )
