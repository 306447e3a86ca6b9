"""Read ranges of a topic with kafka-python: `kafka_python.py SERVERS TOPIC '[[PARTITION, START, END], ...]'`."""

from __future__ import annotations

import json
import sys
import time

from kafka import KafkaConsumer, TopicPartition

# More than the defaults of 500 records and 1 MiB: fewer round trips.
AT_ONCE = 5_000
PARTITION_BYTES = 4 * 2**20


def main(servers: str, topic: str, ranges: list[list[int]]) -> None:
    """Values, keys and headers of the committed records, undecoded."""
    ends = {TopicPartition(topic, partition): end for partition, _, end in ranges}
    consumer = KafkaConsumer(
        bootstrap_servers=servers,
        enable_auto_commit=False,
        isolation_level="read_committed",
        max_poll_records=AT_ONCE,
        max_partition_fetch_bytes=PARTITION_BYTES,
    )
    consumer.assign(list(ends))
    for partition, start, _ in ranges:
        consumer.seek(TopicPartition(topic, partition), start)
    began, cpu = time.perf_counter(), time.process_time()
    records = 0
    while ends:
        records += sum(map(len, consumer.poll(timeout_ms=1000).values()))
        # The position passes transaction markers, which are no records.
        for partition in [part for part, end in ends.items() if consumer.position(part) >= end]:
            del ends[partition]
            consumer.pause(partition)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    consumer.close()
    print(json.dumps({"records": records, "seconds": seconds, "cpu_seconds": cpu_seconds}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
