"""The feed, against a bare `consume()` loop over the same records."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

from benchmarks.measure import Comparison, take_turns
from benchmarks.samples import CODEC
from include.feed.feed import Feed
from include.feed.manifest import Manifest
from include.kafka.connection import KafkaConnection

TARGET = 0.5
BATCH_SIZE = 256
CONSUME_RECORDS = 500
CONSUME_S = 0.05
MIB = 2**20


def compare(
    connection: KafkaConnection, manifest: Manifest, *, repeats: int, on_round: Callable[[int], None]
) -> Comparison:
    """Read the manifest's ranges as shuffled tensors, and as bare messages."""
    memory = _peak_memory(connection, manifest)
    contenders: dict[str, Callable[[], float]] = {
        "ours": lambda: _feed(connection, manifest),
        "limit": lambda: _consume(connection, manifest, look=False),
        "headers read": lambda: _consume(connection, manifest, look=True),
    }
    for contender in contenders.values():
        contender()
    rates = take_turns(contenders, repeats=repeats, on_round=on_round)
    return Comparison(
        name="feed",
        ours=f"shuffled float32 batches of {BATCH_SIZE}: headers, labels, split, decoding, window of 65,536",
        limit=f"bare consume({CONSUME_RECORDS}) of all partitions at once, every error() checked, nothing else",
        rates=rates,
        target=TARGET,
        notes=(
            "headers read: the same loop with values joined and headers() called, the minimum of any feed",
            f"peak memory of the feed: {memory}",
        ),
    )


def _feed(connection: KafkaConnection, manifest: Manifest) -> float:
    began = time.perf_counter()
    read = sum(len(labels) for _, labels in Feed(connection, manifest, CODEC, batch_size=BATCH_SIZE))
    return _rate(manifest, read, began)


def _consume(connection: KafkaConnection, manifest: Manifest, *, look: bool) -> float:
    """Read every range to its end-of-partition event, with the settings of Millrace's own consumers."""
    from confluent_kafka import TopicPartition

    began = time.perf_counter()
    read, ends = 0, 0
    with connection.consumer("bench.bare") as consumer:
        consumer.assign([TopicPartition(item.topic, item.partition, item.start) for item in manifest.ranges])
        while ends < len(manifest.ranges):
            messages = consumer.consume(CONSUME_RECORDS, CONSUME_S)
            records = [message for message in messages if message.error() is None]
            read += len(records)
            ends += len(messages) - len(records)
            if look:
                b"".join([message.value() or b"" for message in records])
                [message.headers() for message in records]
    return _rate(manifest, read, began)


def _rate(manifest: Manifest, read: int, began: float) -> float:
    seconds = time.perf_counter() - began
    expected = sum(item.offsets for item in manifest.ranges)
    # Transaction markers take offsets too, one for each partition and transaction.
    if not 0.99 * expected < read <= expected:
        raise RuntimeError(f"{read:,} records were read of {expected:,} offsets: so the figures are invalid.")
    return read / seconds


def _peak_memory(connection: KafkaConnection, manifest: Manifest) -> str:
    """The memory that one epoch adds to this process, measured after every batch."""
    # Libraries that every feed needs are loaded before.
    import confluent_kafka  # noqa: F401
    import torch  # noqa: F401

    process = psutil.Process()
    before = peak = process.memory_info().rss
    values = 0
    for inputs, _ in Feed(connection, manifest, CODEC, batch_size=BATCH_SIZE):
        values += inputs.numel()
        peak = max(peak, process.memory_info().rss)
    return (
        f"{(peak - before) / MIB:,.0f} MiB above the {before / MIB:,.0f} MiB of the process at the first epoch, "
        f"for {values / MIB:,.0f} MiB of values in the log"
    )
