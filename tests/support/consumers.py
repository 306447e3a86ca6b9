"""An independent read_committed reader: the records that any other application would get from a topic."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from uuid import uuid4

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection

TIMEOUT_S = 90
# What a broker answers while it does not lead a new partition yet.
WITHOUT_LEADER = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError._NOENT,  # no partition has a known leader
)


def log_ends(kafka: KafkaConnection, topic: str, partitions: list[int]) -> dict[int, int]:
    """The end of each partition's log, open transactions included; empty partitions are left out."""
    with AdminClient(dict(kafka.settings)) as admin:
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            # A client that does not know the leaders yet stalls for seconds in some list_offsets calls.
            admin.list_topics(topic, timeout=TIMEOUT_S)
            futures = admin.list_offsets(
                {TopicPartition(topic, number): OffsetSpec.latest() for number in partitions},
                isolation_level=IsolationLevel.READ_UNCOMMITTED,
                request_timeout=TIMEOUT_S,
            )
            try:
                ends = {partition.partition: future.result(TIMEOUT_S).offset for partition, future in futures.items()}
            except KafkaException as error:
                if error.args[0].code() not in WITHOUT_LEADER or time.monotonic() > deadline:
                    raise
                continue
            break
    return {partition: end for partition, end in ends.items() if end}


def committed_records(kafka: KafkaConnection, topic: str) -> list[Message]:
    """Every committed record of a topic, partition by partition. It shares no code with the readers under test."""
    consumer = Consumer(
        {
            **kafka.settings,
            "group.id": f"independent-{uuid4()}",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 10,
        }
    )
    try:
        partitions = list(consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
        unread = log_ends(kafka, topic, partitions)
        records: list[Message] = []
        deadline = time.monotonic() + TIMEOUT_S
        while unread:
            assert time.monotonic() < deadline, f"partitions {unread} of {topic} were not read to their ends"
            message = consumer.poll(0.5)
            if message is None:
                continue
            error = message.error()
            if error is None:
                records.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                # Commit markers are written after the commit is answered, so the log's own end is the one that counts.
                if message.offset() >= unread.get(message.partition(), 0):
                    unread.pop(message.partition(), None)
            else:
                raise KafkaException(error)
        return sorted(records, key=lambda record: (record.partition(), record.offset()))
    finally:
        consumer.close()
