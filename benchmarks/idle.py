"""From the arrival of a single request to its published answer, through Airflow from idle: in seconds."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.measure import Spread
from include.definition.files import PIPELINES, load_pipeline
from include.definition.pipeline import Pipeline
from include.kafka.connection import KafkaConnection
from include.kafka.errors import TopicMissing
from include.kafka.headers import write_headers
from include.kafka.ranges import freeze_ranges
from include.kafka.reader import read_ranges
from include.local import stack
from include.local.api import ACTIVE
from include.local.environment import Layout
from include.sources.digits import DigitsSource

REQUESTS = 10
NAME = "digits"
TIMEOUT_S = 600.0
ARRIVED = "idle-"


def measure(on_step: Callable[[str], None]) -> Spread:
    """Start a stack with one pipeline, let it promote a model, and send one request at a time to it.

    Both records are dated when they are sent. No run of the prediction is queued or running when a request is sent.
    """
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as temporary:
        folder = Path(temporary)
        (folder / "pipelines").mkdir()
        shutil.copy(PIPELINES / f"{NAME}.toml", folder / "pipelines")
        variables = {"MILLRACE_PIPELINES": str(folder / "pipelines")}
        running = stack.start(Layout(folder / "state"), environment=variables, tie=True, on_step=on_step)
        try:
            return _measure(running, on_step)
        finally:
            running.stop()


def _measure(running: stack.Stack, on_step: Callable[[str], None]) -> Spread:
    connection = KafkaConnection(running.kafka_settings)
    pipeline = load_pipeline(NAME)
    for workflow in ("predict", "train", "ingest"):
        running.api.unpause(f"{NAME}.{workflow}")
    running.api.trigger(f"{NAME}.ingest")
    on_step("the first model")
    ready = partial(_first_answers, connection, pipeline)
    running.api.wait_until(ready, timeout_s=TIMEOUT_S, what="no request was answered")
    for number in range(REQUESTS):
        on_step(f"from idle: request {number + 1}")
        running.api.wait_until(lambda: _idle(running), timeout_s=TIMEOUT_S, what="a prediction run has not ended")
        _ask(connection, pipeline, number)
        answered = partial(_answered, connection, pipeline, number + 1)
        running.api.wait_until(answered, timeout_s=TIMEOUT_S, what=f"request {number + 1} was not answered")
    return Spread.of(_waited(connection, pipeline))


def _first_answers(connection: KafkaConnection, pipeline: Pipeline) -> bool:
    try:
        return any(item.end > item.start for item in freeze_ranges(connection, pipeline.predictions_topic))
    except TopicMissing:
        return False


def _idle(running: stack.Stack) -> bool:
    page = running.api.get(f"/dags/{NAME}.predict/dagRuns", order_by="-run_after", limit=5)
    return all(run["state"] not in ACTIVE for run in page["dag_runs"])


def _ask(connection: KafkaConnection, pipeline: Pipeline, number: int) -> None:
    (sample,) = DigitsSource().read(number, 1)
    producer = connection.producer(**{"linger.ms": 0})
    producer.produce(
        pipeline.requests_topic,
        pipeline.format.encode(np.asarray(sample.content)),
        f"{ARRIVED}{number}".encode(),
        headers=[*write_headers(pipeline.format.schema_name)],
        timestamp=int(time.time() * 1000),
    )
    if producer.flush(60):
        raise RuntimeError(f"Request {number + 1} did not reach {pipeline.requests_topic} within 60 s.")


def _answered(connection: KafkaConnection, pipeline: Pipeline, number: int) -> bool:
    return len(_waited(connection, pipeline)) >= number


def _waited(connection: KafkaConnection, pipeline: Pipeline) -> list[float]:
    """For each of the single requests that were answered, the seconds from its timestamp to that of its answer."""
    answers = read_ranges(connection, "bench.idle", freeze_ranges(connection, pipeline.predictions_topic))
    values = [(message, json.loads(message.value() or b"")) for _, messages in answers for message in messages]
    return [
        (message.timestamp()[1] - value["timestamp"]) / 1000
        for message, value in values
        if value["id"].startswith(ARRIVED)
    ]
