"""Read ranges of a topic as batches with Ray Data: `ray_data.py SERVERS TOPIC '[[PARTITION, START, END], ...]' WINDOW`.

Its own Kafka source with one reading task a partition, all at once; values and labels become arrays in these tasks.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import tempfile
import time
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import ray

# As benchmarks/samples.py writes them.
SHAPE = (1, 28, 28)
LABELS = pa.array([b"class-%d" % number for number in range(10)])
BATCH_SIZE = 256
PREFETCHED = 4
STORE_BYTES = 4 * 2**30
END_S = 30


def main(servers: str, topic: str, ranges: list[list[int]], window: int) -> None:
    """Float32 inputs and labels of the committed records, shuffled in a window of so many records, or not with 0."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Its reader waits 10 s for records in place of the transaction markers among its last ones, unless others follow.
    ranges = [[partition, start, end - (end - start) // 100] for partition, start, end in ranges]
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        try:
            start_ray(folder, slots=max(len(ranges), os.cpu_count() or 1))
            # The first reading starts the worker processes, which import everything, and fills the object store.
            read(dataset(servers, topic, ranges), window)
            data = dataset(servers, topic, ranges)
            began, cpu = time.perf_counter(), cpu_seconds()
            records = read(data, window)
            seconds, taken = time.perf_counter() - began, cpu_seconds() - cpu
        finally:
            end_ray()
    print(json.dumps({"records": records, "seconds": seconds, "cpu_seconds": taken}))


def start_ray(folder: str, *, slots: int) -> None:
    """A Ray of this process alone. Its workers' niceness is 15 by default, so that they starve beside other work."""
    ray.init(
        address="local",
        num_cpus=slots,
        object_store_memory=min(STORE_BYTES, shutil.disk_usage("/dev/shm").free // 2),  # noqa: S108 - it is there
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _temp_dir=folder,
        _system_config={"worker_niceness": 0},
    )
    ray.data.DataContext.get_current().enable_progress_bars = False


def dataset(servers: str, topic: str, ranges: list[list[int]]) -> Any:
    """A block a partition: by default it splits what each task reads into fifty."""
    data = ray.data.read_kafka(
        topic,
        bootstrap_servers=servers,
        start_offset={topic: {partition: start for partition, start, _ in ranges}},
        end_offset={topic: {partition: end for partition, _, end in ranges}},
        consumer_config={"isolation.level": "read_committed"},
        override_num_blocks=len(ranges),
    )
    return data.map_batches(decoded, batch_format="pyarrow", batch_size=None, zero_copy_batch=True)


def decoded(table: pa.Table) -> dict[str, np.ndarray]:
    """Float32 inputs of shape (rows, 1, 28, 28) from 0 to 1, and the labels' numbers."""
    values = table["value"].combine_chunks().cast(pa.binary(int(np.prod(SHAPE))))
    pixels = np.frombuffer(values.buffers()[1], np.uint8).reshape(-1, *SHAPE)
    inputs = pixels[values.offset : values.offset + len(values)].astype(np.float32)
    inputs *= 1 / 255
    labels = pc.index_in(pc.struct_field(table["headers"], "label"), value_set=LABELS)
    return {"inputs": inputs, "labels": labels.to_numpy()}


def read(data: Any, window: int) -> int:
    """The number of records in the batches."""
    batches = data.iter_batches(
        batch_size=BATCH_SIZE,
        batch_format="numpy",
        prefetch_batches=PREFETCHED,
        local_shuffle_buffer_size=window or None,
        local_shuffle_seed=1,
    )
    return sum(len(batch["labels"]) for batch in batches)


def cpu_seconds() -> float:
    """Of this process and all that Ray has started, those that have ended among them."""
    process = psutil.Process()
    return sum(sum(each.cpu_times()[:4]) for each in (process, *process.children(recursive=True)))


def end_ray() -> None:
    """End every process that Ray has started."""
    children = psutil.Process().children(recursive=True)
    ray.shutdown()
    _, alive = psutil.wait_procs(children, timeout=END_S)
    for process in alive:
        process.kill()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), int(sys.argv[4]))
