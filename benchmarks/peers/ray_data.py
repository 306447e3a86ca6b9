"""Read ranges of a topic with Ray Data: `ray_data.py SERVERS TOPIC '[[PARTITION, START, END], ...]'`.

Its reader stops when it meets a record at an end offset or behind it, so that no range may end with the topic.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time

import psutil
import ray

BATCH_SIZE = 256
# Of each range: the first reading starts the worker processes, which is not timed.
WARM_UP = 1_000


def main(servers: str, topic: str, ranges: list[list[int]]) -> None:
    """Batches of values, keys and headers of the committed records as NumPy arrays, undecoded."""
    ray.init(num_cpus=os.cpu_count(), include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    read(servers, topic, [[partition, start, min(start + WARM_UP, end)] for partition, start, end in ranges])
    began, cpu = time.perf_counter(), cpu_seconds()
    records = read(servers, topic, ranges)
    seconds, taken = time.perf_counter() - began, cpu_seconds() - cpu
    ray.shutdown()
    print(json.dumps({"records": records, "seconds": seconds, "cpu_seconds": taken}))


def read(servers: str, topic: str, ranges: list[list[int]]) -> int:
    """The number of records in the batches."""
    data = ray.data.read_kafka(
        topic,
        bootstrap_servers=servers,
        start_offset={topic: {partition: start for partition, start, _ in ranges}},
        end_offset={topic: {partition: end for partition, _, end in ranges}},
        consumer_config={"isolation.level": "read_committed"},
    )
    return sum(len(batch["value"]) for batch in data.iter_batches(batch_size=BATCH_SIZE, batch_format="numpy"))


def cpu_seconds() -> float:
    """Of this process and all processes that Ray has started and that live."""
    process = psutil.Process()
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
