"""Measure one partition: how fast a producer fills it and a consumer reads it, from this machine."""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.kafka.connection import KafkaConnection
from include.kafka.environment import in_environment
from include.kafka.errors import BrokerUnavailable
from include.kafka.ranges import freeze_ranges
from include.kafka.reader import read_range
from include.kafka.rights import Right
from include.kafka.topics import TopicSpec, ensure_topics

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message


PREFIX = "millrace.plan"
# The values are random and don't compress, so that a broker has to keep every byte.
DIFFERENT_VALUES = 64
MAX_BYTES = 2**30


@dataclass(frozen=True)
class MeasuredPartition:
    """The rates of one partition.

    Attributes:
        write_bytes_s: bytes of values a second, acknowledged by all in-sync copies.
        read_rate: records a second of a consumer that does nothing with them.
    """

    write_bytes_s: float
    read_rate: float


def measure_partition(connection: KafkaConnection, record_bytes: int, *, seconds: float) -> MeasuredPartition:
    """Fill a topic of one partition for some seconds, read it, and delete it.

    Args:
        record_bytes: of one value.
        seconds: how long to write; a gibibyte ends it earlier.

    Raises:
        BrokerUnavailable: records were not acknowledged in time.
        AccessDenied: the credentials may not create, write, read or delete the topic.
    """
    topic = in_environment(connection.environment, f"{PREFIX}.{uuid.uuid4().hex[:12]}")
    ensure_topics(connection, [TopicSpec(topic, config={"max.message.bytes": str(2**26)})])
    try:
        written, write_s = _write(connection, topic, record_bytes, seconds)
        [whole] = freeze_ranges(connection, topic)
        with connection.consumer(topic) as consumer:
            began = time.perf_counter()
            read = sum(len(messages) for messages in read_range(connection, consumer, whole))
            read_s = time.perf_counter() - began
    finally:
        _delete(connection, topic)
    return MeasuredPartition(written * record_bytes / write_s, read / read_s)


def _write(connection: KafkaConnection, topic: str, record_bytes: int, seconds: float) -> tuple[int, float]:
    """The number of acknowledged records, and the seconds that they took."""
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error)

    values = [os.urandom(record_bytes) for _ in range(DIFFERENT_VALUES)]
    producer = connection.producer(**{"linger.ms": 20, "batch.size": 2**20, "message.max.bytes": 2**26})
    began, number = time.perf_counter(), 0
    while time.perf_counter() - began < seconds and number * record_bytes < MAX_BYTES and not failed:
        try:
            producer.produce(topic, values[number % DIFFERENT_VALUES], partition=0, on_delivery=delivered)
            number += 1
        except BufferError:
            producer.poll(0.1)
        producer.poll(0)
    left = producer.flush(connection.timeout_s)
    if left or failed:
        raise BrokerUnavailable(
            f"Of {number:,} records for {topic} {left + len(failed):,} were not acknowledged within "
            f"{connection.timeout_s:g} s{f' ({failed[0].str()})' if failed else ''}: measure when all brokers are up."
        )
    return number, time.perf_counter() - began


def _delete(connection: KafkaConnection, topic: str) -> None:
    from confluent_kafka import KafkaException

    with connection.admin() as admin:
        future = admin.delete_topics([topic], request_timeout=connection.timeout_s)[topic]
        try:
            future.result(timeout=connection.timeout_s + 5)
        except KafkaException as error:
            raise connection.explain(
                error, f"deleting topic {topic}", topic=topic, rights=[Right("Topic", topic, "Delete")]
            ) from error
