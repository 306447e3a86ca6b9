"""`python -m include registry`: MLflow's database."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.text import Text

from include.errors import MillraceError
from include.registry.tracking import migrate as migrate_database

app = typer.Typer(no_args_is_help=True, help="Prepare the model registry, which is MLflow's.")


@app.callback()
def _group() -> None:
    """Keep `migrate` a command of its own: typer would run a single one without its name."""


@app.command()
def migrate() -> None:
    """Make or upgrade MLflow's database; tasks never do."""
    console = Console(stderr=True, soft_wrap=True)
    try:
        console.print(migrate_database(), markup=False, highlight=False)
    except MillraceError as error:
        console.print(Text(str(error), style="red"))
        raise typer.Exit(1) from error
