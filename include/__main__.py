"""The command line: `millrace <command>`, or `python -m include <command>` where the project is not installed."""

from __future__ import annotations

from importlib import metadata
from typing import Annotated

import typer

from include.commands import (
    acls,
    backlog,
    broker,
    compose_secrets,
    demo,
    doctor,
    ledger,
    new_pipeline,
    peek,
    plan,
    predictions,
    registry,
    schema,
    stack,
    topic,
    trace,
    validate,
)

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False)
app.add_typer(broker.app, name="broker")
app.add_typer(ledger.app, name="ledger")
app.add_typer(registry.app, name="registry")
app.add_typer(stack.app, name="stack")
app.add_typer(topic.app, name="topic")
app.command()(acls.acls)
app.command()(backlog.backlog)
app.command()(compose_secrets.compose_secrets)
app.command()(demo.demo)
app.command()(doctor.doctor)
app.command()(new_pipeline.new_pipeline)
app.command()(peek.peek)
app.command()(plan.plan)
app.command()(predictions.predictions)
app.command()(schema.schema)
app.command(name="trace")(trace.trace_prediction)
app.command()(validate.validate)


def _version() -> str:
    try:
        return metadata.version("millrace")
    except metadata.PackageNotFoundError:
        return "of an unknown version (its folders are used without an installation)"


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"millrace {_version()}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Millrace's tools for the command line."""


def main() -> None:
    """Run the command that the arguments name."""
    app()


if __name__ == "__main__":
    main()
