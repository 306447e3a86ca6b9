"""Write records with the operator of Airflow's Kafka provider: `airflow_provider.py SERVERS TOPIC COUNT BYTES`."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator

CONNECTION = "kafka_benchmark"


def records(count: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values, which the operator's callable yields."""
    value = bytes(range(1, 256)) * (size // 255 + 1)
    for number in range(count):
        yield b"sample-%08d" % number, value[:size]


def main(servers: str, topic: str, count: int, size: int) -> None:
    """Idempotent and compressed, as its documentation shows a connection; it has no transactions."""
    extra = {"bootstrap.servers": servers, "enable.idempotence": True, "compression.type": "lz4", "linger.ms": 5}
    os.environ[f"AIRFLOW_CONN_{CONNECTION.upper()}"] = json.dumps({"conn_type": "kafka", "extra": extra})

    from airflow.providers.apache.kafka.operators.produce import ProduceToTopicOperator

    operator = ProduceToTopicOperator(
        task_id="produce",
        topic=topic,
        producer_function=records,
        producer_function_args=(count, size),
        kafka_config_id=CONNECTION,
    )
    began, cpu = time.perf_counter(), time.process_time()
    operator.execute({})
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    print(json.dumps({"records": count, "seconds": seconds, "cpu_seconds": cpu_seconds}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
