"""The feed, against a bare `consume()` loop over the same records."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import peers
from benchmarks.measure import MIB, Comparison, Contender, Run, Stopwatch, peak_memory, take_turns
from benchmarks.samples import CODEC
from include.feed.cache import FeedCache
from include.feed.feed import Feed
from include.feed.manifest import Manifest
from include.kafka.connection import KafkaConnection

FIRST_TARGET, LATER_TARGET = 0.75, 1.8
KAFKA_PYTHON, KAFKA_PYTHON_TARGET = "kafka-python", 30.0
RAY_DATA_TARGET = 10.0
BATCH_SIZE = 256
CONSUME_RECORDS = 500
CONSUME_S = 0.05
WINDOW = 65_536
BATCHES = f"shuffled float32 batches of {BATCH_SIZE}: headers, labels, split, decoding, window of {WINDOW:,}"
BARE = f"bare consume({CONSUME_RECORDS}) of all partitions at once, every error() checked, nothing else"


def compare(
    connection: KafkaConnection, manifest: Manifest, *, repeats: int, on_round: Callable[[int], None]
) -> Iterator[Comparison]:
    """Read the manifest's ranges as shuffled tensors, from the log and from the cache, and as bare messages."""
    memory = _peak_memory(connection, manifest)
    contenders: dict[str, Contender] = {
        "ours": lambda: _epoch(_feed(connection, manifest)),
        "limit": lambda: _consume(connection, manifest, headers=False),
        "headers read": lambda: _consume(connection, manifest, headers=True),
        **peers.contender("kafka_python", KAFKA_PYTHON, *_addresses(connection, manifest)),
    }
    yield Comparison(
        name="feed, first epoch",
        question="How fast do records become batches, beside a client that only fetches them?",
        ours=BATCHES,
        limit=BARE,
        runs=take_turns(contenders, repeats=repeats, on_round=on_round),
        target=FIRST_TARGET,
        peers={KAFKA_PYTHON: KAFKA_PYTHON_TARGET},
        notes=(
            "headers read: the same loop with values joined and headers() called, the minimum of any feed",
            f"{KAFKA_PYTHON}: less work, only poll(), with crc32c: no labels, split, decoding, shuffling or batches",
            f"peak memory of the feed: {memory}",
        ),
    )
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        cache = FeedCache(Path(folder), 2 * manifest_bytes(manifest))
        feed = _feed(connection, manifest, cache=cache)
        _epoch(feed)
        yield Comparison(
            name="feed, later epochs",
            question="How much faster is an epoch that is read from the cache?",
            ours=f"{BATCHES}; read from the cache on disk",
            limit=BARE,
            runs=take_turns(
                {"ours": lambda: _epoch(feed), "limit": contenders["limit"]}, repeats=repeats, on_round=on_round
            ),
            target=LATER_TARGET,
        )


def beside_ray_data(
    connection: KafkaConnection, manifest: Manifest, *, repeats: int, on_round: Callable[[int], None]
) -> Iterator[Comparison]:
    """The same batches by Ray Data, where it can be installed and runs to its end; otherwise a line says why not."""
    addresses = _addresses(connection, manifest)
    ray_data = peers.contender("ray_data", "limit", *addresses, str(WINDOW))
    if not ray_data:
        return
    contenders: dict[str, Contender] = {
        "ours": lambda: _epoch(_feed(connection, manifest)),
        **ray_data,
        **peers.contender("ray_data", "Ray Data, not shuffled", *addresses, "0"),
    }
    try:
        contenders["ours"]()  # each of Ray Data's runs reads once before what it times
        runs = take_turns(contenders, repeats=repeats, on_round=on_round, warm_up=False)
    except peers.PeerFailed as reason:
        print(f"Ray Data is left out: {reason}", file=sys.stderr)
        return
    yield Comparison(
        name="feed, first epoch, beside Ray Data",
        question="How fast do records become batches, beside Ray Data?",
        ours=BATCHES,
        limit="ray.data.read_kafka, decoded in its reading tasks; iter_batches with a shuffle buffer of the same size",
        runs=runs,
        target=RAY_DATA_TARGET,
        notes=(
            "Ray Data: a block and a slot for each partition, workers not at their niceness of 15, 4 batches ahead",
            "its start, and a whole reading before that fills its workers and its object store, are not timed",
        ),
    )


def manifest_bytes(manifest: Manifest) -> int:
    """The size of all values, in bytes."""
    return sum(item.offsets for item in manifest.ranges) * CODEC.sample_bytes


def _addresses(connection: KafkaConnection, manifest: Manifest) -> tuple[str, str, str]:
    """For a peer: the brokers, the topic, and the ranges as JSON."""
    ranges = [(item.partition, item.start, item.start + item.offsets) for item in manifest.ranges]
    return connection.bootstrap_servers, manifest.ranges[0].topic, json.dumps(ranges)


def _feed(connection: KafkaConnection, manifest: Manifest, cache: FeedCache | None = None) -> Feed:
    return Feed(connection, manifest, CODEC, batch_size=BATCH_SIZE, window=WINDOW, cache=cache)


def _epoch(feed: Feed) -> Run:
    watch = Stopwatch()
    read = sum(len(labels) for _, labels in feed)
    return watch.run(_all_of(feed.manifest, read))


def _consume(connection: KafkaConnection, manifest: Manifest, *, headers: bool) -> Run:
    """Read every range to its end-of-partition event, with the settings of Millrace's own consumers."""
    from confluent_kafka import TopicPartition

    watch = Stopwatch()
    read, ends = 0, 0
    with connection.consumer("bench.bare") as consumer:
        consumer.assign([TopicPartition(item.topic, item.partition, item.start) for item in manifest.ranges])
        while ends < len(manifest.ranges):
            messages = consumer.consume(CONSUME_RECORDS, CONSUME_S)
            records = [message for message in messages if message.error() is None]
            read += len(records)
            ends += len(messages) - len(records)
            if headers:
                b"".join([message.value() or b"" for message in records])
                [message.headers() for message in records]
    return watch.run(_all_of(manifest, read))


def _all_of(manifest: Manifest, read: int) -> int:
    """`read`, where it is the number of records."""
    expected = sum(item.offsets for item in manifest.ranges)
    # Transaction markers take offsets too, one for each partition and transaction.
    if not 0.99 * expected < read <= expected:
        raise RuntimeError(f"{read:,} records were read of {expected:,} offsets: so the figures are invalid.")
    return read


def _peak_memory(connection: KafkaConnection, manifest: Manifest) -> str:
    """The memory that one epoch adds to this process."""
    # Libraries that every feed needs are loaded before.
    import confluent_kafka  # noqa: F401
    import torch  # noqa: F401

    with peak_memory() as memory:
        values = sum(inputs.numel() for inputs, _ in _feed(connection, manifest))
    return (
        f"{memory.growth:,.0f} MiB above the {memory.before:,.0f} MiB of the process at the first epoch, "
        f"for {values / MIB:,.0f} MiB of values in the log"
    )
