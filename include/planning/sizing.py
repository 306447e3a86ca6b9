"""The formulas. They need no broker: what a topic carries and what the machines can do are given."""

import math
from dataclasses import dataclass
from typing import Literal

MIB = 2**20
HOUR_S = 3600

# Kafka's default; more copies cost a write each and protect against more nodes that fail at once.
COPIES = 3
# Records are deleted by whole segments: ten of them keep at most a tenth more than the retention asks for.
SEGMENTS = 10
SEGMENT_BYTES = (16 * MIB, 1024 * MIB)
SEGMENT_MS = (600_000, 7 * 24 * HOUR_S * 1000)
# A broker whose disk is full stops; a part of the disk stays free for a rebalance and for growth.
USED_SHARE = 0.6
# Headers, the key and the batch around a record.
AROUND_RECORD = 1024
LINGER_MS = 20
BATCH_BYTES = (16 * 1024, MIB)
# A broker should keep no more, the copies of all topics included.
MANY_PARTITIONS = 4000

SIZING = "https://www.confluent.io/blog/how-choose-number-topics-partitions-kafka-cluster/"
MANY_PARTITIONS_SOURCE = "https://blogs.apache.org/kafka/entry/apache-kafka-supports-more-partitions"
DURABILITY = "https://kafka.apache.org/documentation/#replication"
TOPIC_SETTINGS = "https://kafka.apache.org/documentation/#topicconfigs"
# How a broker judges the sequence numbers of a producer that it does not know.
IN_FLIGHT = "https://cwiki.apache.org/confluence/display/KAFKA/KIP-360%3A+Improve+reliability+of+idempotent+producer"
PRODUCER_SETTINGS = "https://kafka.apache.org/documentation/#producerconfigs"

Kind = Literal["layout", "topic", "producer", "cluster"]


@dataclass(frozen=True)
class Load:
    """What one topic has to carry.

    Attributes:
        rate: records a second, on average.
        peak: the rate of the busiest minutes, as a multiple of `rate`.
        record_bytes: of an average record: key, value and headers, as the broker stores them.
        largest_bytes: of the largest record.
        tasks: consumers that read the topic at once, each with partitions of its own.
        retention_s: how long records are kept, in seconds.
        outage_s: how long nothing may be read before the backlog is too large, in seconds.
        recovery_s: the time in which the backlog of such an outage has to be gone, in seconds.
        compressed: the values are compressed by their format, as JPEG and MP3 are.
    """

    rate: float
    record_bytes: float
    largest_bytes: int
    tasks: int
    retention_s: float
    outage_s: float
    recovery_s: float
    peak: float = 2.0
    compressed: bool = False

    @property
    def kept_s(self) -> float:
        """How long records have to be kept: no less than the longest outage and the recovery from it."""
        return max(self.retention_s, self.outage_s + self.recovery_s)


@dataclass(frozen=True)
class Capacity:
    """What the cluster and one task can do.

    Attributes:
        brokers: nodes that keep partitions.
        write_bytes_s: bytes a second that one producer writes to one partition, acknowledged by all copies.
        task_rate: records a second that one task reads and works through.
    """

    brokers: int
    write_bytes_s: float
    task_rate: float


@dataclass(frozen=True)
class Recommendation:
    """One setting: its value, the formula with its numbers, what the value costs, and where that is from.

    Attributes:
        kind: `layout` is fixed when a topic is created, `topic` is a topic's setting by its Kafka name, `producer` is
            for the programs that fill it, and `cluster` is what the machines need.
    """

    kind: Kind
    name: str
    value: str
    formula: str
    trade_off: str
    source: str


def plan_topic(load: Load, capacity: Capacity) -> list[Recommendation]:
    """Recommend the layout and the settings of one topic, and what its producers and the cluster need."""
    partitions = _partitions(load, capacity)
    replication = min(COPIES, capacity.brokers)
    segment_bytes = _segment_bytes(load, int(partitions.value))
    return [
        partitions,
        Recommendation(
            "layout",
            "replication.factor",
            str(replication),
            f"min({COPIES} copies, {capacity.brokers} brokers)",
            f"{replication - 1} brokers may be lost with their disks; each copy costs its share of disk and network",
            DURABILITY,
        ),
        Recommendation(
            "topic",
            "min.insync.replicas",
            str(max(1, replication - 1)),
            f"max(1, {replication} copies - 1)",
            f"with acks=all a record has this many copies before it counts as written; writing goes on while "
            f"{replication - max(1, replication - 1)} brokers are down, and stops with more",
            DURABILITY,
        ),
        *_retention(load, segment_bytes),
        Recommendation(
            "topic",
            "max.message.bytes",
            str(_largest_batch(load)),
            f"{load.largest_bytes:,} bytes of the largest record + {AROUND_RECORD:,}, to the next MiB",
            "a larger record is refused when it is written; each consumer needs memory for one such batch a partition",
            TOPIC_SETTINGS,
        ),
        *_producer(load, int(partitions.value)),
        *_cluster(load, capacity, int(partitions.value), replication, segment_bytes),
    ]


def reading_tasks(load: Load, capacity: Capacity) -> int:
    """How many tasks keep up with the peak, and with the records that arrive while a backlog is worked through."""
    catching_up = load.rate * (1 + load.outage_s / load.recovery_s)
    return max(1, math.ceil(max(load.rate * load.peak, catching_up) / capacity.task_rate))


def _partitions(load: Load, capacity: Capacity) -> Recommendation:
    peak = load.rate * load.peak
    writing = math.ceil(peak * load.record_bytes / capacity.write_bytes_s)
    reading = reading_tasks(load, capacity)
    tasks = max(load.tasks, reading)
    value = math.ceil(max(writing, tasks) / tasks) * tasks
    return Recommendation(
        "layout",
        "partitions",
        str(value),
        f"max(writing {peak:,.4g}/s x {load.record_bytes:,.0f} bytes / {capacity.write_bytes_s:,.0f} bytes/s = "
        f"{writing}, reading max({peak:,.4g}/s at the peak, {load.rate:,.4g}/s x (1 + {load.outage_s:,.0f} s outage / "
        f"{load.recovery_s:,.0f} s recovery)) / {capacity.task_rate:,.4g}/s = {reading}, {load.tasks} tasks), to a "
        f"multiple of {tasks} tasks",
        "more partitions let more tasks read at once, and cost open files, memory, and time whenever a broker fails; "
        "keys move to other partitions when the number grows, so it is better a little too large than changed later",
        SIZING,
    )


def _segment_bytes(load: Load, partitions: int) -> int:
    kept = load.rate * load.record_bytes * load.kept_s / partitions
    return max(_within(SEGMENT_BYTES, kept / SEGMENTS), _largest_batch(load))


def _retention(load: Load, segment_bytes: int) -> list[Recommendation]:
    return [
        Recommendation(
            "topic",
            "retention.ms",
            str(int(load.kept_s * 1000)),
            f"max({load.retention_s / HOUR_S:,.4g} h kept, {load.outage_s / HOUR_S:,.4g} h outage + "
            f"{load.recovery_s / HOUR_S:,.4g} h recovery)",
            f"a training reads all that is kept, about {load.rate * load.kept_s:,.0f} records; what expires before it "
            "is read is lost",
            TOPIC_SETTINGS,
        ),
        Recommendation(
            "topic",
            "segment.bytes",
            str(segment_bytes),
            f"a partition's bytes in its retention / {SEGMENTS}, between {SEGMENT_BYTES[0] // MIB} and "
            f"{SEGMENT_BYTES[1] // MIB} MiB",
            "records are deleted by whole segments: smaller ones keep less beyond the retention and open more files",
            TOPIC_SETTINGS,
        ),
        Recommendation(
            "topic",
            "segment.ms",
            str(_within(SEGMENT_MS, load.kept_s * 1000 / SEGMENTS)),
            f"retention / {SEGMENTS}, between 10 minutes and 7 days",
            "the newest segment is never deleted: without this limit a quiet partition keeps its records for long",
            TOPIC_SETTINGS,
        ),
    ]


def _producer(load: Load, partitions: int) -> list[Recommendation]:
    arriving = load.rate * load.peak * load.record_bytes * LINGER_MS / 1000 / partitions
    return [
        Recommendation(
            "producer",
            "acks, enable.idempotence",
            "all, true",
            "each record once, in order, in all in-sync copies",
            "a write waits for the slowest in-sync copy; anything less loses records when a leader fails",
            DURABILITY,
        ),
        Recommendation(
            "producer",
            "max.in.flight.requests.per.connection",
            "1 for librdkafka",
            "nothing is sent behind a request that may be refused; Java's client keeps its 5",
            "librdkafka can lose a producer's first records where a leader is new, and reports them as delivered; with "
            "one request in flight each batch to a far node waits for a round trip",
            IN_FLIGHT,
        ),
        Recommendation(
            "producer",
            "linger.ms, batch.size",
            f"{LINGER_MS}, {max(_within(BATCH_BYTES, arriving), load.largest_bytes)}",
            f"bytes that arrive for a partition in {LINGER_MS} ms at the peak, between {BATCH_BYTES[0] // 1024} KiB "
            f"and {BATCH_BYTES[1] // MIB} MiB, and one record at least",
            f"larger batches are faster and compress better; a record waits up to {LINGER_MS} ms",
            PRODUCER_SETTINGS,
        ),
        Recommendation(
            "producer",
            "compression.type",
            "none" if load.compressed else "zstd",
            "none where the format compresses, else zstd",
            "compression takes CPU time of the producer and saves disk and network in every copy",
            PRODUCER_SETTINGS,
        ),
    ]


def _cluster(
    load: Load, capacity: Capacity, partitions: int, replication: int, segment_bytes: int
) -> list[Recommendation]:
    stored = load.rate * load.record_bytes * load.kept_s + partitions * segment_bytes
    disk = stored * replication / USED_SHARE / capacity.brokers
    copies = math.ceil(partitions * replication / capacity.brokers)
    return [
        Recommendation(
            "cluster",
            "disk of each broker",
            f"{disk / 2**30:,.1f} GiB",
            f"({load.rate:,.4g}/s x {load.record_bytes:,.0f} bytes x {load.kept_s:,.0f} s + {partitions} segments) x "
            f"{replication} copies / {USED_SHARE:.0%} / {capacity.brokers} brokers",
            "a full disk stops its broker; the free part takes a peak, or the copies of a broker that is replaced",
            SIZING,
        ),
        Recommendation(
            "cluster",
            "partitions of each broker",
            f"{copies:,}" if copies <= MANY_PARTITIONS else f"{copies:,}: too many",
            f"{partitions} x {replication} / {capacity.brokers}, with those of all other topics at most "
            f"{MANY_PARTITIONS:,}",
            "each takes memory and file handles, and gets its new leader one by one when a broker stops",
            MANY_PARTITIONS_SOURCE,
        ),
    ]


def _largest_batch(load: Load) -> int:
    return math.ceil((load.largest_bytes + AROUND_RECORD) / MIB) * MIB


def _within(limits: tuple[int, int], value: float) -> int:
    return int(min(max(value, limits[0]), limits[1]))
