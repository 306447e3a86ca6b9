"""`millrace stack`: the local stack in the background."""

import os
import shlex

import typer
from rich.console import Console

from include.commands.console import exit_on_error, say, show_steps
from include.local import stack as local
from include.local.airflow import USERNAME
from include.local.broker import Cluster
from include.local.environment import Layout
from include.registry.tracking import MLFLOW_UI
from include.storage.state import state_dir

NOT_RUNNING = 3

app = typer.Typer(no_args_is_help=True, help="Run the broker, MLflow's database and Airflow in the background.")


@app.command()
def up() -> None:
    """Start the stack, wait until it answers, and print its address and login."""
    layout = Layout(state_dir())
    with exit_on_error():
        running = local.attach(layout)
        _say_what_ended(layout)
        if running is None:
            with show_steps("Starting the stack") as on_step:
                running = local.start(layout, tie=False, on_step=on_step)
            say("The stack is ready; `make down` stops it.")
        else:
            say("The stack runs already; `make down` stops it.")
        print_access(Console(), running)


@app.command()
def down() -> None:
    """Stop the stack with all of its processes; its state stays."""
    with exit_on_error():
        stopped = local.stop(Layout(state_dir()))
    say("The stack is stopped; its state stays." if stopped else "No stack runs: there is nothing to stop.")


@app.command()
def status() -> None:
    """Show where the stack is, and which of its parts have ended; exit status 3 where none runs in the background."""
    layout = Layout(state_dir())
    with exit_on_error():
        running = local.attach(layout)
        _say_what_ended(layout)
        if running is None:
            say("No stack runs in the background: start it with `make up`.")
            raise typer.Exit(NOT_RUNNING)
        print_access(Console(), running)


@app.command()
def clean() -> None:
    """Remove all state of a stopped stack: topics, models, runs, logs and the login; the broker's jars stay."""
    with exit_on_error():
        removed = local.remove_state(Layout(state_dir()))
    for folder in removed:
        say(f"Removed {folder}.")
    if not removed:
        say(f"There is no state in {state_dir()}.")


@app.command()
def env() -> None:
    """Print the stack's environment for a shell: eval "$(millrace stack env)", then `airflow dags list`."""
    with exit_on_error():
        settings = local.settings_of(Layout(state_dir()))
    for name, value in settings.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


def _say_what_ended(layout: Layout) -> None:
    for sentence in local.what_ended(layout):
        say(sentence)


def print_access(console: Console, running: local.Stack) -> None:
    """Print the UI's address and login, and where the broker is."""
    record = running.record
    console.print(f"Airflow  {record.url}  user {USERNAME}, password {running.password}", highlight=False)
    console.print(f"Page     {record.url}/plugin/millrace", highlight=False)
    if mlflow := record.settings.get(MLFLOW_UI):
        console.print(f"MLflow   {mlflow}", highlight=False)
    console.print(f"Kafka    {record.bootstrap_servers}", highlight=False)
    cluster = Cluster.load(running.layout.broker_data)
    if cluster is not None and cluster.security is not None:
        logins = os.path.relpath(cluster.security.connections_file)
        console.print(f"Logins   {logins}", highlight=False, soft_wrap=True)
    console.print(f"Logs     {os.path.relpath(running.layout.task_logs)}", highlight=False, soft_wrap=True)
