"""`millrace broker`: the embedded Kafka broker in the background."""

import datetime as dt
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from include.commands.console import exit_on_error, say, show_steps
from include.definition.files import load_pipelines
from include.errors import amount
from include.local.broker import Cluster, Node, default_data_dir, start_in_background
from include.local.broker.cluster import START_TIMEOUT_S, STOP_TIMEOUT_S
from include.local.broker.jars import LOCK, write_lock
from include.local.broker.readiness import why_not_ready
from include.local.rights import grant_steps

NOT_READY = 1
NOT_RUNNING = 3

app = typer.Typer(no_args_is_help=True, help="Run the embedded Kafka broker in the background.")

Data = Annotated[
    Path | None,
    typer.Option(help="Data folder, by default `broker` in the project's state folder.", show_default=False),
]


@app.command()
def start(
    data: Data = None,
    nodes: Annotated[
        int | None, typer.Option(help="1 or 3; by default as the data were made, else 1.", show_default=False)
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            help="The first node's port; by default that of the last start, or a free one.", show_default=False
        ),
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds for all nodes to become ready.")] = START_TIMEOUT_S,
    secure: Annotated[
        bool,
        typer.Option("--secure", help="With TLS, a login for each step of a pipeline, and ACLs; only for new data."),
    ] = False,
) -> None:
    """Start the broker, wait until it answers, and print its bootstrap servers."""
    with exit_on_error(), show_steps("Starting the broker") as on_step:
        cluster, started = start_in_background(
            data, nodes=nodes, port=port, secure=secure or None, timeout_s=timeout, on_step=on_step
        )
        if cluster.security is not None:
            grant_steps(cluster, load_pipelines()[0])
    state = "is ready" if started else "runs already"
    say(f"The broker {state}: {amount(len(cluster.nodes), 'node')}, data in {cluster.data_dir}.")
    if cluster.security is not None:
        say(
            "Each step of a pipeline has a user with its rights. Their Airflow connections are set by "
            f"`. {cluster.security.connections_file}`, and Kafka's own tools log in as the administrator with "
            f"--command-config {cluster.security.admin_file}."
        )
    typer.echo(cluster.bootstrap_servers)


@app.command()
def stop(
    data: Data = None,
    timeout: Annotated[float, typer.Option(help="Seconds for a clean stop before nodes are killed.")] = STOP_TIMEOUT_S,
) -> None:
    """Stop the broker cleanly; its data stay."""
    with exit_on_error():
        cluster = Cluster.load(data or default_data_dir())
        stopped = cluster.stop(timeout_s=timeout) if cluster else []
    if stopped:
        say(f"The broker is stopped ({len(stopped)} node(s)); its data stay in {stopped[0].directory.parent}.")
    else:
        say(f"No broker runs on {data or default_data_dir()}: there is nothing to stop.")


@app.command()
def status(data: Data = None) -> None:
    """Show the nodes; exit status 0: all answer, 1: some do not, 3: none runs."""
    with exit_on_error():
        cluster = Cluster.load(data or default_data_dir())
    running = cluster.running() if cluster else []
    if cluster is None or not running:
        say(f"No broker runs on {data or default_data_dir()}: start it with `millrace broker start`.")
        raise typer.Exit(NOT_RUNNING)
    table = Table(title=f"Kafka on {cluster.bootstrap_servers}", caption=str(cluster.data_dir))
    for column in ("node", "address", "pid", "state", "memory", "up for"):
        table.add_column(column, justify="right" if column in ("memory", "up for", "pid") else "left")
    ready = [_add_row(table, node, registered={n.id for n in running}) for node in cluster.nodes]
    Console().print(table)
    raise typer.Exit(0 if all(ready) else NOT_READY)


@app.command()
def lock() -> None:
    """Resolve the jars again and write their lock file, to be read before it is committed."""
    with exit_on_error():
        count = write_lock()
    say(f"{LOCK} now lists {count} jars with their SHA-256s: read the difference before you commit it.")


def _add_row(table: Table, node: Node, *, registered: set[int]) -> bool:
    """Add one node's row; return whether it is ready."""
    process = node.process()
    if process is None:
        table.add_row(str(node.id), node.address, "", Text("stopped", style="red"), "", "")
        return False
    try:
        paused = process.status() == psutil.STATUS_STOPPED
        memory = decimal(process.memory_info().rss)
        age = dt.datetime.now(dt.UTC).timestamp() - process.create_time()
    except psutil.NoSuchProcess:
        table.add_row(str(node.id), node.address, "", Text("ended just now", style="red"), "", "")
        return False
    problem = "paused (SIGSTOP)" if paused else why_not_ready(node, registered=registered)
    state = Text(problem or "ready", style="yellow" if problem else "green")
    uptime = str(dt.timedelta(seconds=int(age)))
    table.add_row(str(node.id), node.address, str(process.pid), state, memory, uptime)
    return problem is None
