"""`millrace acls`: the rights of a pipeline's steps on the Kafka cluster, as the commands that grant them."""

from itertools import groupby
from typing import Annotated, get_args

import typer

from include.commands.console import CommandRefused, exit_on_error
from include.commands.kafka_access import PipelineName
from include.definition.files import load_pipeline
from include.definition.rights import step_rights
from include.definition.tables import WorkStep
from include.kafka.rights import grant_command

STEPS: tuple[WorkStep, ...] = get_args(WorkStep)


def acls(
    name: PipelineName,
    principal: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STEP=User:NAME",
            help=f"A step's principal, by default User:STEP; the steps are {', '.join(STEPS)}. Can be repeated.",
            show_default=False,
        ),
    ] = None,
    bootstrap_servers: Annotated[str, typer.Option(help="Where the commands find Kafka.")] = "localhost:9092",
    command_config: Annotated[
        str | None, typer.Option(help="The file with their login, as Kafka's tools take it.", show_default=False)
    ] = None,
) -> None:
    """Print the kafka-acls commands that grant each step of a pipeline its rights, and no others.

    Topics and groups have the prefix of MILLRACE_ENVIRONMENT, so run it with the installation's own value.
    """
    with exit_on_error():
        principals = _principals(principal or [])
        pipeline = load_pipeline(name)
    options = ["--bootstrap-server", bootstrap_servers]
    if command_config is not None:
        options += ["--command-config", command_config]
    for step in STEPS:
        typer.echo(f"# {step}")
        rights = step_rights(pipeline, step)
        for _, same in groupby(rights, key=lambda right: (right.resource, right.name, right.prefixed)):
            typer.echo(grant_command(principals[step], list(same), *options))


def _principals(given: list[str]) -> dict[WorkStep, str]:
    principals: dict[WorkStep, str] = {step: f"User:{step}" for step in STEPS}
    for argument in given:
        name, _, principal = argument.partition("=")
        step = next((step for step in STEPS if step == name), None)
        if step is None or not principal.startswith("User:"):
            raise CommandRefused(
                f"--principal {argument} is not STEP=User:NAME: name one of the steps {', '.join(STEPS)}, and the "
                "principal as Kafka does, such as ingest=User:loader."
            )
        principals[step] = principal
    return principals
