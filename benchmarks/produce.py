"""Transactional produce, against a bare confluent_kafka transactional producer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from benchmarks.measure import Comparison, take_turns
from benchmarks.samples import CODEC, LABELS, EncodedSample
from include.exactly_once.attempt import scoped_id
from include.exactly_once.ledger import LedgerKey, ledger_topic
from include.exactly_once.transaction import TransactionalWriter
from include.feed.manifest import Manifest
from include.feed.split import Split
from include.ingest.chunk import CHUNK_SAMPLES
from include.kafka.connection import KafkaConnection
from include.kafka.headers import write_headers
from include.kafka.ranges import freeze_ranges
from include.kafka.records import OutgoingRecord
from include.kafka.topics import TopicSpec, ensure_topics

TARGET = 0.8
OURS, PEER = "bench.produced", "bench.produced-by-peer"
PARTITIONS = 4
TIMEOUT_S = 60.0


def compare(
    connection: KafkaConnection, samples: Sequence[EncodedSample], *, repeats: int, on_round: Callable[[int], None]
) -> Comparison:
    """Write the same records both ways, in transactions of the same size."""
    ensure_topics(connection, [TopicSpec(OURS, PARTITIONS), TopicSpec(PEER, PARTITIONS), ledger_topic()])
    key = LedgerKey(connection.environment, "bench", "ingest", "benchmark")
    ready = [
        (sample.id.encode(), sample.value, write_headers(CODEC.schema_name, label=sample.label)) for sample in samples
    ]
    contenders: dict[str, Callable[[], float]] = {
        "ours": lambda: write(connection, OURS, samples, key),
        "limit": lambda: _write_bare(connection, ready),
    }
    for contender in contenders.values():
        contender()
    rates = take_turns(contenders, repeats=repeats, on_round=on_round)
    return Comparison(
        name="transactional produce",
        ours="TransactionalWriter as ingest uses it: record, headers and size check for each sample, ledger entry",
        limit="bare confluent_kafka producer: keys, values and headers prepared before, only produce()",
        rates=rates,
        target=TARGET,
        notes=(
            f"{len(samples):,} records a repeat, {CHUNK_SAMPLES:,} a transaction, to {PARTITIONS} partitions",
            "both with idempotence, acks=all, lz4 and linger 5 ms; opening the producer is not timed",
        ),
    )


def written(
    connection: KafkaConnection,
    topic: str,
    samples: Sequence[EncodedSample],
    seed: int,
    *,
    schema: str = CODEC.schema_name,
) -> Manifest:
    """Write the samples and freeze them, none of them held out."""
    write(connection, topic, samples, LedgerKey(connection.environment, "bench", "ingest", topic), schema=schema)
    return Manifest(
        pipeline="bench",
        ranges=tuple(freeze_ranges(connection, topic)),
        schema=schema,
        labels=LABELS,
        split=Split("benchmark", 0.0),
        seed=seed,
    )


def write(
    connection: KafkaConnection,
    topic: str,
    samples: Sequence[EncodedSample],
    key: LedgerKey,
    *,
    schema: str = CODEC.schema_name,
) -> float:
    """Write the samples as `include.ingest.batch` does; returns records a second."""
    with TransactionalWriter(connection, scoped_id(connection, "bench", topic), topics=(topic,)) as writer:
        began = time.perf_counter()
        for start in range(0, len(samples), CHUNK_SAMPLES):
            chunk = samples[start : start + CHUNK_SAMPLES]
            with writer.transaction():
                for sample in chunk:
                    headers = write_headers(schema, label=sample.label)
                    record = OutgoingRecord(topic, sample.id.encode(), sample.value, headers)
                    writer.check_size(record)
                    writer.produce(record)
                writer.write_ledger(key, {"count": len(samples), "sent": start + len(chunk)})
        return len(samples) / (time.perf_counter() - began)


def _write_bare(connection: KafkaConnection, ready: Sequence[tuple[bytes, bytes, list[tuple[str, bytes]]]]) -> float:
    from confluent_kafka import Producer

    producer = Producer(
        {
            "bootstrap.servers": connection.bootstrap_servers,
            "transactional.id": PEER,
            "compression.type": "lz4",
            "linger.ms": 5,
        }
    )
    try:
        producer.init_transactions(TIMEOUT_S)
        began = time.perf_counter()
        for start in range(0, len(ready), CHUNK_SAMPLES):
            producer.begin_transaction()
            for key, value, headers in ready[start : start + CHUNK_SAMPLES]:
                producer.produce(PEER, value, key, headers=headers)  # type: ignore[arg-type]
            producer.commit_transaction(TIMEOUT_S)
        return len(ready) / (time.perf_counter() - began)
    finally:
        producer.flush(TIMEOUT_S)
