"""`python -m include stack`: the local stack in the background."""

from __future__ import annotations

import os
import shlex
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.text import Text

from include.errors import MillraceError
from include.local import stack as local
from include.local.environment import Layout
from include.storage.state import state_dir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOT_RUNNING = 3

app = typer.Typer(no_args_is_help=True, help="Run the broker, MLflow's database and Airflow in the background.")


@app.command()
def up() -> None:
    """Start the stack, wait until it answers, and print its address and login."""
    layout = Layout(state_dir())
    with refusals():
        running = local.attach(layout)
        if running is None:
            with steps() as on_step:
                running = local.start(layout, tie=False, on_step=on_step)
            say("The stack is ready; `make down` stops it.")
        else:
            say("The stack runs already; `make down` stops it.")
        print_access(Console(), running)


@app.command()
def down() -> None:
    """Stop the stack with all of its processes; its state stays."""
    with refusals():
        stopped = local.stop(Layout(state_dir()))
    say("The stack is stopped; its state stays." if stopped else "No stack runs: there is nothing to stop.")


@app.command()
def status() -> None:
    """Show where the stack is; exit status 3 where none runs in the background."""
    with refusals():
        running = local.attach(Layout(state_dir()))
        if running is None:
            say("No stack runs in the background: start it with `make up`.")
            raise typer.Exit(NOT_RUNNING)
        print_access(Console(), running)


@app.command()
def clean() -> None:
    """Remove all state of a stopped stack: topics, models, runs, logs and the login; the broker's jars stay."""
    with refusals():
        removed = local.remove_state(Layout(state_dir()))
    for folder in removed:
        say(f"Removed {folder}.")
    if not removed:
        say(f"There is no state in {state_dir()}.")


@app.command()
def env() -> None:
    """Print the stack's environment for a shell: eval "$(python -m include stack env)", then `airflow dags list`."""
    with refusals():
        settings = local.settings_of(Layout(state_dir()))
    for name, value in settings.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


def print_access(console: Console, running: local.Stack) -> None:
    """Print the UI's address and login, and where the broker is."""
    console.print(f"Airflow  {running.url}  user {running.username}, password {running.password}", highlight=False)
    console.print(f"Kafka    {running.bootstrap_servers}", highlight=False)
    console.print(f"Logs     {os.path.relpath(running.log_dir)}", highlight=False, soft_wrap=True)


def say(sentence: str) -> None:
    """Tell a person; standard output carries only what a script may want to read."""
    Console(stderr=True, soft_wrap=True).print(sentence, markup=False, highlight=False)


@contextmanager
def refusals() -> Iterator[None]:
    """Turn a refusal into its text and exit status 1."""
    try:
        yield
    except MillraceError as error:
        Console(stderr=True, soft_wrap=True).print(Text(str(error), style="red"))
        raise typer.Exit(1) from error


@contextmanager
def steps() -> Iterator[Callable[[str], None]]:
    """Yield what shows a step: a spinner on a terminal, a line elsewhere."""
    console = Console(stderr=True, soft_wrap=True)
    if not console.is_terminal:
        yield say
        return
    with console.status("Looking at the stack") as spinner:
        yield lambda step: spinner.update(Text(step))
