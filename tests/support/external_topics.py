"""Pipelines over topics that other applications fill, such as the popular article's, with kafka-python at both ends."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from include.definition.pipeline import Pipeline

ARTICLE = """
description = "What is on the article's images?"

[topics]
samples = "image_topic"
requests = "image_topic"

[format]
kind = "tensor.base64"
dtype = "float64"
shape = [100, 100, 3]
channels_last = true

[envelope]
kind = "bare"

[labels]
kind = "topic"
topic = "image_labels"

[model]
kind = "convnet"
channels = [8]

[training]
labels = ["dark", "light"]
schedule = "0 2 * * *"

[prediction]
schedule = "*/10 * * * *"
"""

# The article's loop with the two corrections that it needs to run: `import time`, and no `.encode` on the bytes that
# base64 returns. It ends after a number of images, and every other image is darker.
PRODUCER = """
import base64, sys, time
import numpy as np
from kafka import KafkaProducer

servers, topic, images, pause = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
producer = KafkaProducer(bootstrap_servers=servers)
for number in range(images):
    image = np.random.default_rng(number).random((100, 100, 3)) * (1.0 if number % 2 else 0.4)
    producer.send(topic, base64.b64encode(image.tobytes())).get(30)
    time.sleep(pause)
producer.flush()
producer.close()
"""

CONSUMER = """
import json, sys
from kafka import KafkaConsumer, TopicPartition

servers, topic, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
consumer = KafkaConsumer(
    bootstrap_servers=servers, isolation_level="read_committed", auto_offset_reset="earliest", enable_auto_commit=False,
    value_deserializer=json.loads,
)
consumer.assign([TopicPartition(topic, partition) for partition in sorted(consumer.partitions_for_topic(topic))])
found = []
while len(found) < number:
    for records in consumer.poll(timeout_ms=1000).values():
        found += [[record.key.decode(), record.value] for record in records]
print(json.dumps(found))
consumer.close()
"""


def fill_with_kafka_python(servers: str, topic: str, images: int) -> None:
    """Run the article's producer in its own process until it has sent this many images."""
    _run(PRODUCER, servers, topic, images, 0)


def read_with_kafka_python(servers: str, topic: str, number: int) -> list[tuple[str, dict[str, Any]]]:
    """Keys and JSON of the first committed records of a topic, as a consumer of kafka-python reads them."""
    return [tuple(pair) for pair in json.loads(_run(CONSUMER, servers, topic, number))]


def external_pipeline(name: str, **tables: Any) -> Pipeline:
    """A pipeline over external topics of four numbers; the label is the letter of the largest of the first three.

    Args:
        tables: replace or add tables of its file.
    """
    values = {
        "name": name,
        "description": "Which of three numbers is the largest?",
        "topics": {"samples": f"{name}-theirs", "requests": f"{name}-theirs"},
        "format": {"kind": "tensor.raw", "shape": [4], "dtype": "float32"},
        "envelope": {"kind": "bare"},
        "model": {"kind": "convnet"},
        "training": {"labels": ["a", "b", "c"], "schedule": "0 * * * *"},
        "prediction": {"schedule": "0 * * * *"},
    }
    return Pipeline.model_validate({**values, **tables})


def _run(program: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
