"""`millrace peek`: the newest records of a pipeline's topic, and their faults."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from include.codecs import ImageCodec
from include.commands.console import CommandRefused, exit_on_error, say
from include.commands.kafka_access import BootstrapServers, PipelineName, find_kafka, find_registry
from include.commands.record_view import view
from include.definition.files import load_pipeline
from include.definition.pipeline import Pipeline
from include.kafka.connection import KafkaConnection
from include.kafka.environment import in_environment
from include.kafka.login import log_in
from include.kafka.newest import Limits, newest_records
from include.kafka.ranges import freeze_ranges
from include.overview.records import DecodedRecord, decode_prediction, decode_record, image_of
from include.reading.records import record_reader

if TYPE_CHECKING:
    from confluent_kafka import Message


GROUP = "millrace.peek"
MAX_NUMBER = 1000
LIMITS = Limits(offsets=100_000, size=256 * 2**20)
# Long enough to show a commit of a moment ago; an open transaction is not waited for.
SETTLE_S = 1.0


class Topic(StrEnum):
    """A pipeline's topics."""

    SAMPLES = "samples"
    REQUESTS = "requests"
    PREDICTIONS = "predictions"
    DEAD_LETTERS = "dead-letters"


def peek(
    name: PipelineName,
    topic: Annotated[Topic, typer.Option(help="Which of its topics.")] = Topic.SAMPLES,
    number: Annotated[int, typer.Option(min=1, max=MAX_NUMBER, help="How many records.")] = 5,
    save: Annotated[Path | None, typer.Option(help="Write images into this folder as PNG.", show_default=False)] = None,
    bootstrap_servers: BootstrapServers = None,
) -> None:
    """Show the newest committed records of a topic, the newest first; nothing is committed and no offset moved."""
    with exit_on_error():
        pipeline = load_pipeline(name)
        topic_name = {
            Topic.SAMPLES: pipeline.samples_topic,
            Topic.REQUESTS: pipeline.requests_topic,
            Topic.PREDICTIONS: pipeline.predictions_topic,
            Topic.DEAD_LETTERS: pipeline.dead_letters_topic,
        }[topic]
        if save is not None:
            _check_saving(pipeline, topic, save)
        connection = find_kafka(pipeline.connection, bootstrap_servers)
        log_in(connection)
        if pipeline.registry is not None and topic is not Topic.PREDICTIONS:
            connection = replace(connection, registry=find_registry(pipeline.registry.connection))
        ranges = freeze_ranges(connection, topic_name, settle_s=SETTLE_S)
        group = in_environment(connection.environment, GROUP)
        messages, complete = newest_records(connection, group, ranges, number, limits=LIMITS)
        console = Console(highlight=False)
        for record in _decoded(connection, pipeline, topic, messages):
            console.print(view(record, pipeline, colours=console.color_system is not None))
            console.print()
            if save is not None:
                _save(record, save)
    where = f"{topic_name} at {connection.bootstrap_servers}"
    if not messages:
        say(f"There is no committed record in {where}{'' if complete else ' in the part that was searched'}.")
    elif not complete:
        say(f"Only {len(messages)} of {number} records of {where} were found in the part that was searched.")
    if not complete:
        say(f"Not searched: records more than {LIMITS.offsets:,} offsets or {LIMITS.size // 2**20} MiB back.")
    if pipeline.signed:
        say("Signatures were not verified: this command has no keys.")


def _decoded(
    connection: KafkaConnection, pipeline: Pipeline, topic: Topic, messages: list[Message]
) -> Iterator[DecodedRecord]:
    if topic is Topic.PREDICTIONS:
        yield from map(decode_prediction, messages)
        return
    of_samples = topic is Topic.SAMPLES
    reading = pipeline.record_layout(pipeline.samples_topic if of_samples else pipeline.requests_topic)
    labelled = of_samples and pipeline.labels_topic is None
    with record_reader(connection, reading, pipeline.format.schema_name, labelled=labelled) as reader:
        for message in messages:
            yield decode_record(message, pipeline, reader, labelled=labelled)


def _check_saving(pipeline: Pipeline, topic: Topic, folder: Path) -> None:
    if topic is Topic.PREDICTIONS or not isinstance(pipeline.format, ImageCodec):
        raise CommandRefused(
            f"Only images are saved, and {pipeline.name}.{topic.value} with the format {pipeline.format.kind} has "
            "none: leave out --save."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandRefused(f"Folder {folder} can't be made ({error.strerror}): correct --save.") from error


def _save(record: DecodedRecord, folder: Path) -> None:
    if record.sample is None:
        return
    file = folder / record.file_name
    try:
        image_of(record.sample).save(file)
    except OSError as error:
        raise CommandRefused(f"{file} can't be written ({error.strerror or error}): correct --save.") from error
    say(f"Saved {file}.")
