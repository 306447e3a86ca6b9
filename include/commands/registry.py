"""`millrace registry`: MLflow's database."""

import typer

from include.commands.console import exit_on_error, say
from include.registry.tracking import migrate as migrate_database

app = typer.Typer(no_args_is_help=True, help="Prepare the model registry, which is MLflow's.")


@app.callback()
def _group() -> None:
    """Typer would run a group's only command without its name; a callback keeps `migrate`."""


@app.command()
def migrate() -> None:
    """Make or upgrade MLflow's database; tasks never do."""
    with exit_on_error():
        say(migrate_database())
