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
from include.commands.console import exit_on_error, say
from include.commands.kafka_access import NoKafka, find_kafka, find_registry
from include.commands.record_view import DecodedRecord, decode_prediction, decode_record, image_of, view
from include.definition.files import load_pipeline
from include.errors import PermanentError
from include.kafka.newest import Limits, newest_records
from include.kafka.ranges import freeze_ranges
from include.reading.records import record_reader

if TYPE_CHECKING:
    from confluent_kafka import Message

    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection

GROUP = "millrace.peek"
MAX_NUMBER = 1000
LIMITS = Limits(offsets=100_000, size=256 * 2**20)
# Long enough to show a commit of a moment ago; an open transaction is not waited for.
SETTLE_S = 1.0


class CannotSave(PermanentError):
    """There is no image to save, or no folder for it."""


class Topic(StrEnum):
    """A pipeline's topics."""

    SAMPLES = "samples"
    REQUESTS = "requests"
    PREDICTIONS = "predictions"
    DEAD_LETTERS = "dead-letters"


def peek(
    name: Annotated[str, typer.Argument(metavar="PIPELINE", help="The pipeline's name.")],
    topic: Annotated[Topic, typer.Option(help="Which of its topics.")] = Topic.SAMPLES,
    number: Annotated[int, typer.Option(min=1, max=MAX_NUMBER, help="How many records.")] = 5,
    save: Annotated[Path | None, typer.Option(help="Write images into this folder as PNG.", show_default=False)] = None,
    bootstrap_servers: Annotated[
        str | None,
        typer.Option(help="Where Kafka is; by default the local stack's, or the connection's.", show_default=False),
    ] = None,
) -> None:
    """Show the newest committed records of a topic, the newest first; nothing is committed and no offset moved."""
    with exit_on_error():
        pipeline = load_pipeline(name)
        if save is not None:
            _check_saving(pipeline, topic, save)
        connection = find_kafka(pipeline, bootstrap_servers)
        if pipeline.registry is not None and topic is not Topic.PREDICTIONS:
            connection = replace(connection, registry=find_registry(pipeline.registry.connection))
        messages, complete = _newest(connection, _name(pipeline, topic), number)
        console = Console(highlight=False)
        for record in _decoded(connection, pipeline, topic, messages):
            console.print(view(record, pipeline, colours=console.color_system is not None))
            console.print()
            if save is not None:
                _save(record, save)
    where = f"{_name(pipeline, topic)} at {connection.bootstrap_servers}"
    if not messages:
        say(f"There is no committed record in {where}{'' if complete else ' in the part that was searched'}.")
    elif not complete:
        say(f"Only {len(messages)} of {number} records of {where} were found in the part that was searched.")
    if not complete:
        say(f"Not searched: records more than {LIMITS.offsets:,} offsets or {LIMITS.size // 2**20} MiB back.")
    if pipeline.signed:
        say("Signatures were not verified: this command has no keys.")


def _name(pipeline: Pipeline, topic: Topic) -> str:
    return {
        Topic.SAMPLES: pipeline.samples_topic,
        Topic.REQUESTS: pipeline.requests_topic,
        Topic.PREDICTIONS: pipeline.predictions_topic,
        Topic.DEAD_LETTERS: pipeline.dead_letters_topic,
    }[topic]


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


def _newest(connection: KafkaConnection, topic: str, number: int) -> tuple[list[Message], bool]:
    from confluent_kafka import KafkaException

    try:
        ranges = freeze_ranges(connection, topic, settle_s=SETTLE_S)
        return newest_records(connection, GROUP, ranges, number, limits=LIMITS)
    except KafkaException as error:  # an invalid setting
        raise NoKafka(f"No Kafka client can be created ({error.args[0].str()}): correct the connection.") from error


def _check_saving(pipeline: Pipeline, topic: Topic, folder: Path) -> None:
    if topic is Topic.PREDICTIONS or not isinstance(pipeline.format, ImageCodec):
        raise CannotSave(
            f"Only images are saved, and {pipeline.name}.{topic.value} with the format {pipeline.format.kind} has "
            "none: leave out --save."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotSave(f"Folder {folder} can't be made ({error.strerror}): correct --save.") from error


def _save(record: DecodedRecord, folder: Path) -> None:
    if record.sample is None:
        return
    file = folder / record.file_name
    try:
        image_of(record.sample).save(file)
    except OSError as error:
        raise CannotSave(f"{file} can't be written ({error.strerror or error}): correct --save.") from error
    say(f"Saved {file}.")
