"""The memory of a training and of a prediction run, with a tenth of the records and with all of them."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.measure import Comparison, Run, peak_memory
from benchmarks.prediction import predictor_of, requests_pipeline
from benchmarks.training import CACHE_BYTES, SCENARIOS, training_job
from include.exactly_once.attempt import Attempt
from include.feed.manifest import Manifest
from include.kafka.connection import KafkaConnection
from include.kafka.ranges import OffsetRange
from include.kafka.topics import ensure_topics
from include.prediction.publish import publish_predictions
from include.training.job import TrainingJob
from include.training.loop import train

# Ten times the records may take 1.1 times the memory.
TARGET = 1 / 1.1
# A tenth of the records fills it.
WINDOW = 4_096
TASK_S = 600.0
_spawn = multiprocessing.get_context("spawn")


def compare(
    connection: KafkaConnection, manifest: Manifest, *, on_round: Callable[[int], None]
) -> Iterator[Comparison]:
    """Run each in a process of its own, as the memory of a process that has run before says nothing."""
    on_round(1)
    tenth = replace(
        manifest, ranges=tuple(replace(item, end=item.start + item.offsets // 10) for item in manifest.ranges)
    )
    sizes = (tenth, manifest)
    jobs = [
        training_job(SCENARIOS[0], part, part.ranges[0].offsets * len(part.ranges)).model_copy(
            update={"window": WINDOW, "epochs": 2}
        )
        for part in sizes
    ]
    topic = manifest.ranges[0].topic
    pipelines = [requests_pipeline(topic) for _ in sizes]
    for pipeline in pipelines:
        ensure_topics(connection, pipeline.topic_specs())
    servers = connection.bootstrap_servers
    peaks = {
        "training": [_peak(_train, servers, job) for job in jobs],
        "prediction": [
            _peak(_predict, servers, topic, pipeline.name, part.ranges)
            for pipeline, part in zip(pipelines, sizes, strict=True)
        ],
    }
    for name, (of_tenth, of_all) in peaks.items():
        yield Comparison(
            name=f"memory of a {name}",
            question="Does the memory stay the same when there are ten times as many records?",
            ours="the peak of a process that takes a tenth of the records, without the files that it maps",
            limit="the peak of one that takes all",
            runs={"ours": [of_tenth], "limit": [of_all]},
            target=TARGET,
            unit="MiB",
        )


def _peak(work: Callable[..., None], *arguments: object) -> Run:
    """The peak memory of a new process that does the work, in MiB."""
    ours, theirs = _spawn.Pipe()
    process = _spawn.Process(target=_measure, args=(theirs, work, *arguments))
    process.start()
    theirs.close()
    process.join(TASK_S)
    if process.exitcode != 0:
        raise RuntimeError(f"{work.__name__} ended with {process.exitcode}, so the figures are invalid.")
    return Run(*ours.recv())


def _measure(answer: Connection, work: Callable[..., None], *arguments: object) -> None:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with peak_memory() as memory:
        work(*arguments)
    answer.send((memory.peak, 1e9 * sum(os.times()[:2])))


def _train(servers: str, job: TrainingJob) -> None:
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as directory:
        train(job, KafkaConnection({"bootstrap.servers": servers}), Path(directory), cache_bytes=CACHE_BYTES)


def _predict(servers: str, topic: str, pipeline_name: str, ranges: Sequence[OffsetRange]) -> None:
    connection = KafkaConnection({"bootstrap.servers": servers})
    pipeline = requests_pipeline(topic, name=pipeline_name)
    attempt = Attempt(connection, pipeline.name, "predict", "bench")
    publish_predictions(attempt, pipeline, ranges, predictor_of(pipeline))
