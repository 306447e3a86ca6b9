"""`python -m tests.faults`: inflict every fault, print the results, and fail if a record was lost or duplicated."""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Annotated
from unittest import SkipTest

import typer
from rich.console import Console

from include.local.broker.jars import jars_dir
from include.storage.state import PROJECT_ROOT
from tests.faults.rows import Row, Setting, show, table, write
from tests.faults.scenarios import SCENARIOS, run_scenario

FAILED = 1
FIGURES = PROJECT_ROOT / "docs" / "faults.json"
PAGE = PROJECT_ROOT / "docs" / "reliability.md"

# A pipe has no width of its own, and the table needs more than the usual 80.
console = Console(width=None if sys.stdout.isatty() else 120)


def main(
    seed: Annotated[
        int | None, typer.Option(help="Draws the same faults again; random by default.", show_default=False)
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help=f"Run this scenario: {', '.join(SCENARIOS)}. Several times for several.", show_default=False),
    ] = None,
    short: Annotated[bool, typer.Option("--short", help="The version that `make test` runs.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the rows there; a whole run that passes writes docs/faults.json.", show_default=False),
    ] = None,
) -> None:
    """Kill, stop and starve Millrace's steps and brokers, and count what consumers lose or see twice."""
    if unknown := sorted(set(only or ()) - set(SCENARIOS)):
        raise typer.BadParameter(
            f"{unknown[0]!r} is no scenario; there are {', '.join(SCENARIOS)}", param_hint="--only"
        )
    logging.basicConfig(level=logging.ERROR)
    # A scenario with a state folder of its own shares the jars that are there already.
    os.environ.setdefault("MILLRACE_JARS", str(jars_dir()))
    seed = secrets.randbelow(2**31) if seed is None else seed
    console.print(f"Seed {seed}: `python -m tests.faults --seed {seed}` draws the same faults again.", highlight=False)
    found = {name: _scenario(name, seed, short=short) for name in only or SCENARIOS}
    rows = [row for some in found.values() for row in some or ()]
    console.print(table(rows))
    failed = [name for name, some in found.items() if some is None] + [row.fault for row in rows if not row.passed]
    if out is not None:
        write(out, rows)
    elif only is None and not short and not failed and all(found.values()):
        write(FIGURES, rows)
        show(PAGE, json.loads(FIGURES.read_text(encoding="utf-8")))
    if failed:
        console.print(f"Failed: {'; '.join(failed)}.", style="red", highlight=False)
        raise typer.Exit(FAILED)


def _scenario(name: str, seed: int, *, short: bool) -> list[Row] | None:
    """A scenario's rows: empty if this machine can't inflict its faults, None if it failed; its folder is kept then."""
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix=f"millrace-faults-{name}-"))
    kept = False
    with console.status(f"{name}: begins") as status:

        def say(text: str) -> None:
            status.update(f"{name}: {text}")
            if not console.is_terminal:
                console.print(f"{name}: {text}", highlight=False)

        try:
            rows = run_scenario(name, Setting(folder, seed, short, say))
            console.print(f"{name}: {len(rows)} rows in {time.monotonic() - began:.0f} s.", highlight=False)
        except SkipTest as reason:
            console.print(f"{name} was skipped: {reason}", style="yellow", highlight=False)
            return []
        except Exception:  # noqa: BLE001 - the other scenarios still run
            kept = True
            console.print(f"{name} failed; brokers' and workers' logs are in {folder}.", style="red", highlight=False)
            console.print(traceback.format_exc(), markup=False, highlight=False)
            return None
        else:
            return rows
        finally:
            if not kept:
                shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    typer.run(main)
