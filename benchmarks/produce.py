"""Transactional produce, against a bare confluent_kafka transactional producer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks import peers
from benchmarks.measure import Comparison, Contender, Run, Stopwatch, take_turns
from benchmarks.samples import CODEC, LABELS, EncodedSample
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

if TYPE_CHECKING:
    from confluent_kafka import Producer

TARGET = 0.95
PROVIDER, PROVIDER_TARGET = "Airflow's provider", 10.0
OURS, PEER = "bench.produced", "bench.produced-by-peer"
PARTITIONS = 4
TIMEOUT_S = 60.0


def compare(
    connection: KafkaConnection, samples: Sequence[EncodedSample], *, repeats: int, on_round: Callable[[int], None]
) -> Iterator[Comparison]:
    """Write the same records both ways, in transactions of the same size."""
    ensure_topics(connection, [TopicSpec(OURS, PARTITIONS), TopicSpec(PEER, PARTITIONS), ledger_topic()])
    key = LedgerKey(connection.environment, "bench", "ingest", "benchmark")
    ready = [
        (sample.id.encode(), sample.value, write_headers(CODEC.schema_name, label=sample.label)) for sample in samples
    ]
    size = str(len(samples[0].value))
    contenders: dict[str, Contender] = {
        "ours": lambda: write(connection, OURS, samples, key),
        "limit": lambda: _write_bare(connection, ready),
        **peers.contender("airflow_provider", PROVIDER, connection.bootstrap_servers, PEER, str(len(samples)), size),
    }
    yield Comparison(
        name="produce, exactly once",
        question="What do exactly-once batches cost beside the client's own transactions?",
        ours="TransactionalWriter as ingest uses it: record, headers and size check for each sample, ledger entry",
        limit="bare confluent_kafka producer: keys, values and headers prepared before, only produce()",
        runs=take_turns(contenders, repeats=repeats, on_round=on_round),
        target=TARGET,
        peers={PROVIDER: PROVIDER_TARGET},
        notes=(
            f"{len(samples):,} records a repeat, {CHUNK_SAMPLES:,} a transaction, to {PARTITIONS} partitions",
            f"{PROVIDER}: ProduceToTopicOperator, which has neither transactions nor headers",
            "all with idempotence, acks=all, lz4 and linger 5 ms; opening the producer is not timed",
            "ours has one request in flight, for several can lose records; the bare producer has librdkafka's default",
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
) -> Run:
    """Write the samples as `include.ingest.batch` does."""
    with TransactionalWriter(connection, f"{connection.environment}.bench.{topic}", topics=(topic,)) as writer:
        watch = Stopwatch()
        for start in range(0, len(samples), CHUNK_SAMPLES):
            chunk = samples[start : start + CHUNK_SAMPLES]
            with writer.transaction():
                for sample in chunk:
                    headers = write_headers(schema, label=sample.label)
                    record = OutgoingRecord(topic, sample.id.encode(), sample.value, headers)
                    writer.check_size(record)
                    writer.produce(record)
                writer.write_ledger(key, {"count": len(samples), "sent": start + len(chunk)})
        return watch.run(len(samples))


def _write_bare(connection: KafkaConnection, ready: Sequence[tuple[bytes, bytes, list[tuple[str, bytes]]]]) -> Run:
    with bare_producer(connection, PEER) as producer:
        watch = Stopwatch()
        for start in range(0, len(ready), CHUNK_SAMPLES):
            producer.begin_transaction()
            for key, value, headers in ready[start : start + CHUNK_SAMPLES]:
                producer.produce(PEER, value, key, headers=headers)  # type: ignore[arg-type]
            producer.commit_transaction(TIMEOUT_S)
        return watch.run(len(ready))


@contextmanager
def bare_producer(connection: KafkaConnection, transactional_id: str) -> Iterator[Producer]:
    """A transactional producer of confluent_kafka with the settings that matter to its speed as Millrace has them."""
    from confluent_kafka import Producer

    producer = Producer(
        {
            "bootstrap.servers": connection.bootstrap_servers,
            "transactional.id": transactional_id,
            # With sparse connections the first transaction waits for a timer of half a second in some runs.
            "enable.sparse.connections": False,
            "compression.type": "lz4",
            "linger.ms": 5,
        }
    )
    try:
        producer.init_transactions(TIMEOUT_S)
        yield producer
    finally:
        producer.flush(TIMEOUT_S)
