"""From the arrival of a request to its published answer, while a run lingers: in seconds, which have no limit here."""

from __future__ import annotations

import json
import threading
import time

from benchmarks.measure import Spread
from benchmarks.samples import CODEC, LABELS, samples
from include.definition.pipeline import Pipeline
from include.exactly_once.attempt import Attempt
from include.kafka.connection import KafkaConnection
from include.kafka.headers import write_headers
from include.kafka.ranges import freeze_ranges
from include.kafka.reader import read_ranges
from include.kafka.topics import ensure_topics
from include.network.build import build_network
from include.prediction.json_record import ModelIdentity
from include.prediction.predictor import Predictor
from include.prediction.publish import publish_predictions

REQUESTS = 200
PER_SECOND = 20
LINGER_S = 3.0


def measure(connection: KafkaConnection, *, seed: int) -> Spread:
    """Send requests at a steady rate to an attempt that lingers; both records are dated when they are sent."""
    pipeline = Pipeline.model_validate(
        {
            "name": "bench_latency",
            "description": "Steady traffic.",
            "format": CODEC.model_dump(),
            "source": {"kind": "digits"},
            "model": {"kind": "convnet"},
            "training": {"labels": LABELS},
        }
    )
    ensure_topics(connection, pipeline.topic_specs())
    target = pipeline.training.target()
    network = build_network(pipeline.model, CODEC.input_shape, target, file="bench_latency.toml")
    identity = ModelIdentity(pipeline.name, 1, "0" * 64, "0" * 16)
    sending = threading.Thread(target=_send, args=(connection, pipeline.requests_topic, seed))
    sending.start()
    publish_predictions(
        Attempt(connection, pipeline.name, "predict", "bench"),
        pipeline,
        freeze_ranges(connection, pipeline.requests_topic),
        Predictor(network, target, identity),
        linger_s=LINGER_S,
    )
    sending.join()
    answers = read_ranges(connection, "bench.latency", freeze_ranges(connection, pipeline.predictions_topic))
    waited = [
        (message.timestamp()[1] - json.loads(message.value() or b"")["timestamp"]) / 1000
        for _, messages in answers
        for message in messages
    ]
    if len(waited) != REQUESTS:
        raise RuntimeError(f"{REQUESTS} requests were sent and {len(waited)} answered.")
    return Spread.of(waited)


def _send(connection: KafkaConnection, topic: str, seed: int) -> None:
    producer = connection.producer(**{"linger.ms": 0})
    for sample in samples(REQUESTS, seed):
        producer.produce(
            topic, sample.value, sample.id.encode(), headers=[*write_headers(CODEC.schema_name)], timestamp=_now_ms()
        )
        producer.poll(1 / PER_SECOND)
    producer.flush(60)


def _now_ms() -> int:
    return int(time.time() * 1000)
