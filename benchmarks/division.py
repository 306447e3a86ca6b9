"""A prediction run by two tasks, each with a processor and half of the partitions, beside one with one processor."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.synchronize import Barrier
from typing import Any

from benchmarks import produce
from benchmarks.measure import Comparison, Run, Spread, Stopwatch, take_turns
from benchmarks.prediction import TOPIC, predictor_of, requests_pipeline
from benchmarks.samples import CODEC, EncodedSample
from include.exactly_once.attempt import Attempt
from include.kafka.connection import KafkaConnection
from include.kafka.ranges import OffsetRange, freeze_ranges
from include.kafka.topics import TopicSpec, ensure_topics
from include.prediction.answer import FORWARD_SAMPLES
from include.prediction.publish import publish_predictions

TARGET = 1.7
TASKS = 2
REQUESTS = TopicSpec("bench.divided-requests", TOPIC.partitions)
TASK_S = 300.0
# As Airflow starts a task's process: without this one's threads and clients.
_spawn = multiprocessing.get_context("spawn")


def has_processors() -> bool:
    """Whether each task can have a processor of its own."""
    return hasattr(os, "sched_setaffinity") and len(os.sched_getaffinity(0)) >= TASKS


def compare(
    connection: KafkaConnection, samples: Sequence[EncodedSample], *, repeats: int, on_round: Callable[[int], None]
) -> Iterator[Comparison]:
    """Answer the same requests each time, for another pipeline, so that none of them has been answered."""
    if not has_processors():
        print(f"The division into tasks is left out: it needs Linux and {TASKS} processors.", file=sys.stderr)
        return
    ensure_topics(connection, [REQUESTS])
    produce.written(connection, REQUESTS.name, samples, seed=0)
    ranges = freeze_ranges(connection, REQUESTS.name)
    halves = [ranges[number::TASKS] for number in range(TASKS)]
    alone = f"network, {TASKS}", "network, 1"
    runs = take_turns(
        {
            "ours": lambda: _predict(connection, halves, len(samples)),
            "limit": lambda: _predict(connection, [ranges], len(samples)),
            alone[0]: lambda: _together(_compute, [(len(samples) // TASKS,)] * TASKS, len(samples)),
            alone[1]: lambda: _together(_compute, [(len(samples),)], len(samples)),
        },
        repeats=repeats,
        on_round=on_round,
    )
    networks = Spread.of([two.rate / one.rate for two, one in zip(*(runs[name] for name in alone), strict=True)])
    yield Comparison(
        name=f"prediction by {TASKS} tasks",
        question=f"How much faster are {TASKS} mapped tasks than one, each with one processor?",
        ours=f"publish_predictions in {TASKS} processes at once, each with a processor and half of the partitions",
        limit="publish_predictions in one process with all of them, on one processor",
        runs=runs,
        target=TARGET,
        notes=(
            f"{len(samples):,} requests in {REQUESTS.partitions} partitions; the processes have started before",
            "beside one task the broker has the other processor, beside two it shares theirs",
            f"the network without Kafka, in {TASKS} such processes: {networks.shown('{:.2f}')} times as fast as in one",
        ),
    )


def _predict(connection: KafkaConnection, sets: Sequence[Sequence[OffsetRange]], expected: int) -> Run:
    pipeline = requests_pipeline(REQUESTS.name)
    ensure_topics(connection, pipeline.topic_specs())
    return _together(_task, [(connection.bootstrap_servers, pipeline.name, ranges) for ranges in sets], expected)


def _together(work: Callable[..., None], shares: Sequence[tuple[Any, ...]], expected: int) -> Run:
    """Do each share of the work in a process of its own, timed from when all of them are ready."""
    ready = _spawn.Barrier(len(shares) + 1)
    processors = sorted(os.sched_getaffinity(0))
    tasks = [
        _spawn.Process(target=_on_processor, args=(processor, work, *share, ready))
        for processor, share in zip(processors, shares, strict=False)
    ]
    for task in tasks:
        task.start()
    ready.wait(TASK_S)
    watch = Stopwatch()
    for task in tasks:
        task.join(TASK_S)
    if any(task.exitcode != 0 for task in tasks):
        raise RuntimeError(f"A task ended with {[task.exitcode for task in tasks]}, so the figures are invalid.")
    return watch.run(expected)


def _on_processor(processor: int, work: Callable[..., None], *arguments: object) -> None:
    """Work with one processor, as in a container that has no more: torch then uses one thread, too."""
    os.sched_setaffinity(0, {processor})
    work(*arguments)


def _task(servers: str, pipeline_name: str, ranges: Sequence[OffsetRange], ready: Barrier) -> None:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    connection = KafkaConnection({"bootstrap.servers": servers})
    pipeline = requests_pipeline(REQUESTS.name, name=pipeline_name)
    predictor = predictor_of(pipeline)
    ready.wait(TASK_S)
    publish_predictions(Attempt(connection, pipeline.name, "predict", "bench"), pipeline, ranges, predictor)


def _compute(samples: int, ready: Barrier) -> None:
    """The network alone, on as many samples."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    network = predictor_of(requests_pipeline(REQUESTS.name)).network
    inputs = torch.zeros(FORWARD_SAMPLES, *CODEC.input_shape)
    ready.wait(TASK_S)
    with torch.inference_mode():
        for _ in range(-(-samples // FORWARD_SAMPLES)):
            network(inputs)
