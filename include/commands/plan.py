"""`millrace plan`: how many partitions, how many replicas, and why."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from include.commands.console import exit_on_error, say
from include.commands.kafka_access import BootstrapServers, PipelineName, find_kafka
from include.definition.files import load_pipeline
from include.errors import amount
from include.kafka.login import log_in
from include.kafka.topics import describe_topics, topic_settings
from include.planning.live import Difference, TopicTraffic, apply_plan, count_brokers, differences, observe
from include.planning.measure import MeasuredPartition, measure_partition
from include.planning.sizing import AROUND_RECORD, HOUR_S, Capacity, Load, Recommendation, plan_topic, reading_tasks

MEASURED_S = 5.0
# Where nothing is measured. A partition takes tens of MB/s on a server's disks; a task's rate depends on its model.
ASSUMED_WRITE_BYTES_S = 10e6
ASSUMED_TASK_RATE = 1000.0
ASSUMED_RECORD_BYTES = 1024
ASSUMED_RATE = 1.0

# Formats whose values don't become smaller by a producer's compression.
COMPRESSED = {"audio.flac", "audio.mp3", "audio.ogg", "image.jpeg", "image.png", "image.webp"}


class PlannedTopic(StrEnum):
    """The topics whose layout matters for the rate."""

    SAMPLES = "samples"
    REQUESTS = "requests"
    PREDICTIONS = "predictions"


def plan(
    name: PipelineName,
    topic: Annotated[PlannedTopic, typer.Option(help="Which of its topics.")] = PlannedTopic.REQUESTS,
    rate: Annotated[
        float | None,
        typer.Option(min=0.001, help="Records a second on average.", show_default="the topic's over the last day"),
    ] = None,
    peak: Annotated[float, typer.Option(min=1, help="The busiest minutes, as a multiple of the average.")] = 2.0,
    record_bytes: Annotated[
        int | None, typer.Option(min=1, help="Bytes of a record.", show_default="those of the newest records")
    ] = None,
    tasks: Annotated[
        int | None, typer.Option(min=1, help="Tasks that read at once.", show_default="the pipeline's")
    ] = None,
    task_rate: Annotated[
        float | None,
        typer.Option(min=0.001, help="Records a second that one task works through.", show_default="1,000, assumed"),
    ] = None,
    retention_hours: Annotated[
        float | None, typer.Option(min=0.01, help="How long records are kept.", show_default="the pipeline's")
    ] = None,
    outage_hours: Annotated[float, typer.Option(min=0, help="The longest time without a reader.")] = 8.0,
    recovery_hours: Annotated[
        float, typer.Option(min=0.01, help="Time in which the backlog of such an outage has to be gone.")
    ] = 4.0,
    brokers: Annotated[
        int | None, typer.Option(min=1, help="Nodes that keep partitions.", show_default="the cluster's")
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure one partition: write a topic for 5 s, read it, delete it.")
    ] = False,
    apply: Annotated[
        bool, typer.Option("--apply", help="Create the topic as planned, or change the settings of an existing one.")
    ] = False,
    grow: Annotated[bool, typer.Option("--grow", help="With --apply: also add partitions, which moves keys.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
    bootstrap_servers: BootstrapServers = None,
) -> None:
    """Recommend partitions, replicas, retention and sizes for a topic, each with its formula and its price."""
    with exit_on_error():
        pipeline = load_pipeline(name)
        connection = find_kafka(pipeline.connection, bootstrap_servers)
        log_in(connection)
        topic_name: str = getattr(pipeline, f"{topic.value}_topic")
        info = describe_topics(connection, [topic_name]).get(topic_name)
        observed = TopicTraffic() if info is None else observe(connection, topic_name)
        size = record_bytes or observed.record_bytes or ASSUMED_RECORD_BYTES
        nodes = brokers or count_brokers(connection)
        measured = measure_partition(connection, int(size), seconds=MEASURED_S) if measure else None
        load = Load(
            rate=rate or observed.rate or ASSUMED_RATE,
            peak=peak,
            record_bytes=size,
            largest_bytes=max(observed.largest_bytes, int(size), pipeline.topics.max_record_bytes - AROUND_RECORD),
            tasks=tasks or pipeline.prediction.tasks,
            retention_s=(retention_hours or pipeline.topics.retention_hours) * HOUR_S,
            outage_s=outage_hours * HOUR_S,
            recovery_s=recovery_hours * HOUR_S,
            compressed=pipeline.format.kind in COMPRESSED,
        )
        capacity = Capacity(
            nodes,
            measured.write_bytes_s if measured else ASSUMED_WRITE_BYTES_S,
            task_rate or ASSUMED_TASK_RATE,
        )
        recommended = plan_topic(load, capacity)
        found = [] if info is None else differences(info, topic_settings(connection, topic_name), recommended)
        if as_json:
            typer.echo(json.dumps([asdict(item) for item in recommended], indent=2))
        else:
            _show(topic_name, recommended)
        for sentence in _origins(
            load, observed, measured, given={"rate": rate, "size": record_bytes, "task": task_rate}
        ):
            say(sentence)
        if apply:
            found = apply_plan(connection, topic_name, recommended, grow=grow)
        _say_differences(topic_name, found, exists=info is not None, applied=apply)
    if pipeline.topics.partitions != int(recommended[0].value):
        say(f"For new topics, set partitions = {recommended[0].value} under [topics] in {name}.toml.")
    if load.tasks < (needed := reading_tasks(load, capacity)):
        say(f"One after the other is too slow: set tasks = {needed} under [prediction] in {name}.toml.")


def _show(topic: str, recommended: list[Recommendation]) -> None:
    table = Table("setting", "value", "why, and what it costs", title=topic, title_justify="left", show_lines=True)
    for item in recommended:
        table.add_row(item.name, item.value, f"{item.formula}\n{item.trade_off}\n{item.source}")
    Console(highlight=False).print(table)


def _origins(
    load: Load, observed: TopicTraffic, measured: MeasuredPartition | None, *, given: Mapping[str, float | None]
) -> Iterator[str]:
    """Where the numbers come from, the assumed ones above all."""
    if given["rate"] is None:
        yield (
            f"Rate: {load.rate:,.4g} records a second, the topic's over the last day."
            if observed.rate
            else f"Rate: {load.rate:,.4g} a second is assumed, as no record came in the last day: give --rate."
        )
    if given["size"] is None:
        yield (
            f"Size: {load.record_bytes:,.0f} bytes, the mean of the newest {amount(observed.records, 'record')}."
            if observed.records
            else f"Size: {load.record_bytes:,.0f} bytes are assumed, as the topic is empty: give --record-bytes."
        )
    if measured is None:
        yield f"A partition: {ASSUMED_WRITE_BYTES_S / 1e6:,.0f} MB/s are assumed: measure it here with --measure."
    else:
        yield (
            f"A partition takes {measured.write_bytes_s / 1e6:,.1f} MB/s here, and a reader that does nothing gets "
            f"{measured.read_rate:,.0f} records a second."
        )
    if given["task"] is None:
        yield (
            f"A task: {ASSUMED_TASK_RATE:,.0f} records a second are assumed: give --task-rate; a run's log has its "
            "predictions and seconds."
        )


def _say_differences(topic: str, found: list[Difference], *, exists: bool, applied: bool) -> None:
    if not exists:
        say(f"Created topic {topic}." if applied else f"There is no topic {topic}: --apply creates it as planned.")
        return
    if not found:
        say(f"Topic {topic} is as planned.")
    for item in found:
        verb = "was" if applied else "is"
        end = f"; the change {'means' if not applied else 'meant'} that {item.consequence}" if item.consequence else ""
        say(f"{item.name} {verb} {item.live}, planned {item.planned}{end}.")
