"""`millrace backlog`: what waits for training and prediction, and for how long."""

import time
from dataclasses import replace
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from include.backlogs import STEPS, BacklogStep, waiting
from include.commands.console import FAILED, exit_on_error, say
from include.commands.kafka_access import BootstrapServers, find_kafka, find_registry
from include.definition.files import load_pipeline, load_pipelines
from include.definition.pipeline import Pipeline
from include.errors import MillraceError, amount
from include.exactly_once.waiting import Thresholds
from include.kafka.connection import KafkaConnection
from include.kafka.errors import TopicMissing
from include.prediction.backlog import request_thresholds
from include.training.backlog import sample_thresholds

# Records are read to count them, since offsets are no count.
COUNTED = 100_000


def backlog(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PIPELINE]...", help="The pipelines' names; all by default.", show_default=False),
    ] = None,
    bootstrap_servers: BootstrapServers = None,
) -> None:
    """Show how many records wait for each pipeline's training and prediction, and when its next run begins."""
    table = Table("pipeline", "step", "waiting", "oldest", "a run begins")
    failed = False
    with exit_on_error():
        pipelines = [load_pipeline(name) for name in names] if names else load_pipelines()[0]
        for pipeline in pipelines:
            for step in STEPS:
                try:
                    connection = _connection(pipeline, step, bootstrap_servers)
                    count, oldest = _measure(connection, pipeline, step)
                except TopicMissing:
                    count, oldest = "no topic yet", ""
                except MillraceError as error:
                    failed = True
                    say(f"{pipeline.name} {step}: {error}")
                    count, oldest = "unknown", ""
                table.add_row(pipeline.name, step, count, oldest, _rule(pipeline, step))
    Console(highlight=False).print(table)
    if failed:
        raise typer.Exit(FAILED)


def _connection(pipeline: Pipeline, step: BacklogStep, bootstrap_servers: str | None) -> KafkaConnection:
    connection = find_kafka(pipeline.connection_of(step), bootstrap_servers)
    if pipeline.registry is not None:
        connection = replace(connection, registry=find_registry(pipeline.registry.connection))
    return connection


def _measure(connection: KafkaConnection, pipeline: Pipeline, step: BacklogStep) -> tuple[str, str]:
    """How many records wait and how old the oldest is, for a person."""
    found = waiting(connection, pipeline, step, Thresholds(COUNTED, max_wait_s=0, refire_after_s=0))
    age = found.age_s(time.time())
    many = found.records >= COUNTED
    return f"{'at least ' * many}{found.records:,}", "" if age is None else _duration(age)


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _rule(pipeline: Pipeline, step: BacklogStep) -> str:
    """When a run begins, as the pipeline's file says."""
    schedule = pipeline.training.schedule if step == "train" else pipeline.prediction.schedule
    if schedule is not None:
        return f"at {schedule} (UTC)"
    limits = sample_thresholds(pipeline) if step == "train" else request_thresholds(pipeline)
    later = "" if limits.max_wait_s is None else f", or one for {_duration(limits.max_wait_s)}"
    return f"when {amount(limits.min_records, 'waits', 'wait')}{later}"
