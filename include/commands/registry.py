"""`millrace registry`: MLflow's database."""

from __future__ import annotations

import typer

from include.commands.console import exit_on_error, say
from include.registry.tracking import migrate as migrate_database

app = typer.Typer(no_args_is_help=True, help="Prepare the model registry, which is MLflow's.")


@app.callback()
def _group() -> None:
    """Keep `migrate` a command of its own: typer would run a single one without its name."""


@app.command()
def migrate() -> None:
    """Make or upgrade MLflow's database; tasks never do."""
    with exit_on_error():
        say(migrate_database())
