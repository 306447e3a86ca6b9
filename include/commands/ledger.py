"""`millrace ledger`: what the ledger holds of a pipeline, and a person's repairs of it."""

import getpass
import json
import socket
from collections.abc import Iterable
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from include.commands.console import CommandRefused, exit_on_error, say
from include.commands.kafka_access import BootstrapServers, PipelineName, find_ledger
from include.commands.record_view import escaped
from include.definition.files import load_pipeline
from include.exactly_once.entries import read_entry
from include.exactly_once.ledger import LedgerKey
from include.exactly_once.repair import StoredEntry, read_entries, sign_entries, write_entry

SHOWN_CHARACTERS = 2000

app = typer.Typer(
    no_args_is_help=True,
    help="Show and repair what the ledger holds of a pipeline. Pause its DAGs before a repair: a step that runs may "
    "overwrite it.",
)

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.command()
def show(
    name: PipelineName,
    damaged: Annotated[bool, typer.Option("--damaged", help="Only entries that a step would refuse.")] = False,
    bootstrap_servers: BootstrapServers = None,
) -> None:
    """Show the newest entry of each key, and why a step would refuse it; the exit status is 1 where one is refused."""
    with exit_on_error():
        entries = read_entries(find_ledger(load_pipeline(name), bootstrap_servers), name)
        bad = [stored for stored in entries if stored.damage]
        _show(bad if damaged else entries)
    say(f"{len(entries)} entries, {len(bad)} of them damaged.")
    if bad:
        raise typer.Exit(1)


@app.command()
def repair(
    name: PipelineName,
    step: Annotated[str, typer.Option(help="The entry's step, as `show` prints it.")],
    scope: Annotated[str, typer.Option(help="The entry's scope, as `show` prints it.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept in the ledger.")],
    value: Annotated[str | None, typer.Option(help="The entry's JSON.", show_default=False)] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete the entry: its step begins anew there.")] = False,
    yes: Yes = False,
    bootstrap_servers: BootstrapServers = None,
) -> None:
    """Replace or delete one entry; who did it, when and why is kept as an entry of the step `repair`."""
    with exit_on_error():
        connection = find_ledger(load_pipeline(name), bootstrap_servers)
        if delete == (value is not None):
            raise CommandRefused("Say what the entry becomes: --value with its JSON, or --delete.")
        try:
            entry = None if value is None else read_entry(step, scope, value.encode())
        except ValueError as error:
            raise CommandRefused(f"The value is no entry of step {step!r} ({error}): correct it.") from error
        key = LedgerKey(connection.environment, name, step, scope)
        before = [stored for stored in read_entries(connection, name) if stored.key == key]
        _show(before)
        say(f"It becomes {'nothing' if entry is None else json.dumps(entry, sort_keys=True)}.")
        if not before and delete:
            raise CommandRefused(
                f"There is no entry {key.encode().decode()!r}: `millrace ledger show {name}` lists them."
            )
        if yes or typer.confirm("Write it?"):
            write_entry(connection, key, entry, by=_person(), reason=reason)
            say("Written.")


@app.command()
def sign(name: PipelineName, yes: Yes = False, bootstrap_servers: BootstrapServers = None) -> None:
    """Sign entries that have no signature or one of a retired key, after [signing] was added or its key changed.

    Look at them first: whoever may write to the ledger may have written them.
    """
    with exit_on_error():
        connection = find_ledger(load_pipeline(name), bootstrap_servers)
        if connection.signing is None:
            raise CommandRefused(f"Pipeline {name} has no [signing]: add the table to its file, with a connection.")
        entries = [stored for stored in read_entries(connection, name) if stored.can_sign]
        _show(entries)
        if not entries:
            say("Every entry that could be signed has a signature of the current key.")
        elif yes or typer.confirm(f"Sign these {len(entries)} entries?"):
            say(f"{sign_entries(connection, name, by=_person())} entries are signed.")


def _show(entries: Iterable[StoredEntry]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for stored in entries:
        message, value = stored.message, stored.message.value()
        text = Text(f"{escaped(stored.key.step)}  {escaped(stored.key.scope)}", style="bold")
        text.append(f"  partition {message.partition()}, offset {message.offset()}\n", style="dim")
        text.append("  deleted" if value is None else f"  {escaped(value, SHOWN_CHARACTERS)}")
        if stored.damage:
            text.append(f"\n  damaged: {stored.damage}", style="red")
        console.print(text)


def _person() -> str:
    return f"{getpass.getuser()}@{socket.gethostname()}"
