"""`millrace trace`: where one prediction comes from, and whether it comes out the same again."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from include.commands.console import FAILED, CommandRefused, exit_on_error, say
from include.commands.kafka_access import BootstrapServers, find_ledger, find_registry
from include.commands.record_view import escaped, view
from include.definition.files import load_pipelines
from include.definition.pipeline import Pipeline
from include.kafka.connection import KafkaConnection
from include.kafka.environment import in_environment
from include.kafka.login import log_in
from include.kafka.records import Address
from include.overview.records import decode_prediction, decode_record
from include.prediction.read import GROUP
from include.prediction.trace import Trace, trace
from include.reading.records import record_reader

PLACE = re.compile(r"([^/]+)/([0-9]{1,9})/([0-9]{1,18})")


def trace_prediction(
    place: Annotated[
        str, typer.Argument(metavar="TOPIC/PARTITION/OFFSET", help="Of a prediction, as `millrace peek` shows it.")
    ],
    bootstrap_servers: BootstrapServers = None,
) -> None:
    """Show a prediction's request, version, manifest and training ranges, and predict it again with that version.

    The exit status is 1 if the version does not predict the same bits.
    """
    with exit_on_error():
        address = _address(place)
        pipeline = _pipeline_of(address.topic)
        connection = find_ledger(pipeline, bootstrap_servers)
        log_in(connection)
        if pipeline.registry is not None:
            connection = replace(connection, registry=find_registry(pipeline.registry.connection))
        found = trace(connection, pipeline, address, in_environment(connection.environment, GROUP))
        _show(found, pipeline, connection)
    for sentence in found.missing:
        say(sentence)
    if found.same is None:
        say("So the request was not predicted again.")
    elif found.same:
        say(f"Version {found.row.version} predicts the same bits again.")
    else:
        changes = "; ".join(
            f"{name} {before!s:.100}, now {now!s:.100}" for name, (before, now) in found.changes.items()
        )
        say(
            f"Version {found.row.version} predicts other bits now: "
            f"{escaped(changes) or 'the same values, written otherwise'}. Last digits depend on the processor, the "
            "libraries' versions and the size of the batch."
        )
        raise typer.Exit(FAILED)


def _address(place: str) -> Address:
    if (found := PLACE.fullmatch(place)) is None:
        raise CommandRefused(
            f"The address {place!r:.200} is not of a record: write TOPIC/PARTITION/OFFSET, digits.predictions/0/17 for "
            "instance."
        )
    topic, partition, offset = found.groups()
    return Address(topic, int(partition), int(offset))


def _pipeline_of(topic: str) -> Pipeline:
    pipelines = load_pipelines()[0]
    for pipeline in pipelines:
        if topic in (pipeline.predictions_topic, pipeline.repredictions_topic):
            return pipeline
    known = ", ".join(pipeline.predictions_topic for pipeline in pipelines) or "none"
    raise CommandRefused(f"No valid pipeline publishes predictions to topic {topic!r:.200}: the topics are {known}.")


def _show(found: Trace, pipeline: Pipeline, connection: KafkaConnection) -> None:
    console = Console(highlight=False)
    console.print("Prediction", style="bold")
    console.print(view(decode_prediction(found.record), pipeline, colours=False))
    if found.request is not None:
        console.print("\nRequest", style="bold")
        layout, schema = pipeline.record_layout(pipeline.requests_topic), pipeline.format.schema_name
        with record_reader(connection, layout, schema, labelled=False) as reader:
            request = decode_record(found.request, pipeline, reader, labelled=False)
        console.print(view(request, pipeline, colours=console.color_system is not None))
    row, card = found.row, found.card
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("version", Text(escaped(f"{row.model}/{row.version}")))
    facts.add_row("digest", Text(escaped(row.digest)))
    facts.add_row("manifest", Text(escaped(row.manifest)))
    if card is not None:
        facts.add_row("trained", f"{card.created:%Y-%m-%d %H:%M:%S} UTC, job {card.job}")
        for name, ranges in (("samples", card.manifest.ranges), ("labels", card.manifest.label_ranges)):
            for item in ranges:
                facts.add_row(
                    name, f"{item.topic}/{item.partition}: {item.start} to {item.end} of topic {item.topic_id}"
                )
    console.print("\nModel", style="bold")
    console.print(facts)
