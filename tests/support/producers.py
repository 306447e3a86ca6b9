"""Independent producers, as any other application has them; they share no code with the writer under test."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from confluent_kafka import Producer

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection

TIMEOUT_S = 120
# Retention goes by timestamps, so records with old ones would soon be removed.
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
    kafka: KafkaConnection,
    topic: str,
    records: Iterable[Record],
    *,
    partition: int = 0,
    compression: str = "none",
    together: bool = False,
    timeout_s: float = TIMEOUT_S,
) -> None:
    """Write records without a transaction and wait for each delivery.

    Args:
        together: as few batches as possible, each of 180 MB before it is compressed.
    """
    failures: list[str] = []
    # Only an idempotent producer keeps the order when it retries, and only with one request in flight does it lose
    # nothing: see `include.kafka.connection.WITHOUT_LOSS`. With sparse connections it would mostly wait half a second
    # for its id.
    settings: dict[str, Any] = {"enable.idempotence": True, "max.in.flight.requests.per.connection": 1}
    settings |= {"enable.sparse.connections": False, "linger.ms": 5, "message.max.bytes": 200_000_000}
    if together:
        settings |= {"batch.size": 180_000_000, "linger.ms": 1000}
    producer = Producer({**kafka.settings, **settings, "compression.type": compression})
    # Asks for the leaders at once: without it they are known after 0.1 s or 1 s.
    producer.list_topics(topic, timeout=timeout_s)
    for record in records:
        _queue(producer, topic, record, partition, failures)
    assert producer.flush(timeout_s) == 0
    assert failures == []


@contextmanager
def open_transaction(kafka: KafkaConnection, name: str, *, timeout_s: float = 60) -> Iterator[Producer]:
    """A producer with an open transaction, which the test commits or aborts; otherwise it is aborted at the end."""
    milliseconds = int(timeout_s * 1000)
    settings = {"transactional.id": name, "transaction.timeout.ms": milliseconds, "linger.ms": 100}
    # As the writer under test: with sparse connections timers delay the connection to the coordinator.
    producer = Producer({**kafka.settings, **settings, "enable.sparse.connections": False})
    producer.init_transactions(TIMEOUT_S)
    producer.begin_transaction()
    try:
        yield producer
    finally:
        producer.close()


def produce_in(producer: Producer, topic: str, records: Iterable[Record], *, partition: int = 0) -> None:
    """Write records in the producer's open transaction and wait until they are in the log."""
    failures: list[str] = []
    for record in records:
        _queue(producer, topic, record, partition, failures)
    assert producer.flush(TIMEOUT_S) == 0
    assert failures == []


def commit(kafka: KafkaConnection, topic: str, records: Iterable[Record], *, partition: int = 0) -> None:
    """Write records in one committed transaction; its marker follows them in the log."""
    with open_transaction(kafka, f"commit-{uuid4()}") as producer:
        produce_in(producer, topic, records, partition=partition)
        producer.commit_transaction(TIMEOUT_S)


def abort(kafka: KafkaConnection, topic: str, records: Iterable[Record], *, partition: int = 0) -> None:
    """Write records in a transaction and abort it: committed readers never get them."""
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
