"""`millrace predictions`: what each version of a pipeline's model has answered."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from include.commands.console import exit_on_error, say
from include.commands.kafka_access import BootstrapServers, PipelineName, find_kafka
from include.commands.record_view import shown_time
from include.definition.files import load_pipeline
from include.kafka.environment import in_environment
from include.prediction.read import GROUP
from include.prediction.version_answers import answers_by_version


def predictions(
    name: PipelineName,
    version: Annotated[
        int | None, typer.Option(min=1, help="Only this version of the model.", show_default=False)
    ] = None,
    bootstrap_servers: BootstrapServers = None,
) -> None:
    """Show how many requests each version has answered, when, and where they are in the requests topic."""
    with exit_on_error():
        pipeline = load_pipeline(name)
        connection = find_kafka(pipeline.connection_of("predict"), bootstrap_servers)
        group = in_environment(connection.environment, GROUP)
        found = answers_by_version(connection, pipeline, group, version)
        table = Table("version", "predictions", "first", "last", "requests")
        for number, answered in found.items():
            first, last = (shown_time(published) for published in (answered.first_ms, answered.last_ms))
            places = "\n".join(
                f"{pipeline.requests_topic}/{partition}: {len({*offsets}):,} of {min(offsets)} to {max(offsets)}"
                for partition, offsets in sorted(answered.requests.items())
            )
            table.add_row(str(number), f"{answered.count:,}", first, last, places)
        Console(highlight=False).print(table)
    if version is not None and found:
        say(f'{name}.repredict gives these answers again: set "Answered by version" to {version} in its form.')
