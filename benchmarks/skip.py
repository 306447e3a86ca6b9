"""A run that finds nothing, against a process that only imports what every task of Airflow imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

from benchmarks.measure import Comparison, Run, Stopwatch, take_turns
from include.definition.files import load_pipeline
from include.kafka.connection import KafkaConnection
from include.kafka.topics import ensure_topics
from include.storage.state import PROJECT_ROOT

MAX_TIMES = 1.3
PIPELINE = "digits"
TASK = (PIPELINE, "FreezeRangesOperator", json.dumps({"step": "train"}))


def compare(connection: KafkaConnection, *, repeats: int, on_round: Callable[[int], None]) -> Iterator[Comparison]:
    """Freeze the ranges of empty topics, from the start of the process on."""
    ensure_topics(connection, load_pipeline(PIPELINE).topic_specs(0))
    extra = {"conn_type": "kafka", "extra": dict(connection.settings)}
    environment = {
        **os.environ,
        "AIRFLOW_CONN_KAFKA_DEFAULT": json.dumps(extra),
        "PYTHONPATH": os.pathsep.join([str(PROJECT_ROOT), str(PROJECT_ROOT / "plugins")]),
    }
    yield Comparison(
        name="a run that finds nothing",
        question="What does a task cost that finds nothing to do, beside the imports that every task of Airflow pays?",
        ours="the first task of a train DAG, which freezes the ranges and skips: a whole process",
        limit="a process that imports Airflow's task runner and ends",
        runs=take_turns(
            {"ours": lambda: _process(environment, *TASK), "limit": lambda: _process(environment)},
            repeats=repeats,
            on_round=on_round,
        ),
        target=1 / MAX_TIMES,
        unit="tasks/s",
        notes=(f"the target is {MAX_TIMES:g} times the limit's time",),
    )


def _process(environment: dict[str, str], *arguments: str) -> Run:
    watch = Stopwatch()
    subprocess.run(
        [sys.executable, "-m", "benchmarks.skipped_task", *arguments],
        env=environment,
        cwd=PROJECT_ROOT,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return watch.run(1)
