"""`python -m tests.faults`: inflict every fault, print the results, and fail if a record was lost or duplicated."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Annotated

import typer

from include.local.broker.jars import jars_dir
from include.storage.state import PROJECT_ROOT
from tests.faults.parallel import console, run_scenarios
from tests.faults.rows import show, table, write
from tests.faults.scenarios import SCENARIOS

FAILED = 1
FIGURES = PROJECT_ROOT / "docs" / "faults.json"
PAGE = PROJECT_ROOT / "docs" / "reliability.md"


def main(
    seed: Annotated[
        int | None, typer.Option(help="Draws the same faults again; random by default.", show_default=False)
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help=f"Run this scenario: {', '.join(SCENARIOS)}. Several times for several.", show_default=False),
    ] = None,
    at_once: Annotated[
        int, typer.Option(min=1, help="Scenarios that run at the same time: most of them wait for most of their time.")
    ] = 2,
    short: Annotated[bool, typer.Option("--short", help="The version that `make test-long` runs.")] = False,
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
    # A scenario with a state folder of its own shares the jars that are there already.
    os.environ.setdefault("MILLRACE_JARS", str(jars_dir()))
    seed = secrets.randbelow(2**31) if seed is None else seed
    console.print(f"Seed {seed}: `python -m tests.faults --seed {seed}` draws the same faults again.", highlight=False)
    results = run_scenarios(only or SCENARIOS, seed, short=short, at_once=at_once)
    rows = [row for result in results.values() for row in result or ()]
    console.print(table(rows))
    failed = [name for name, result in results.items() if result is None]
    failed += [row.fault for row in rows if not row.passed]
    if out is not None:
        write(out, rows)
    elif only is None and not short and not failed and all(results.values()):
        write(FIGURES, rows)
        show(PAGE, json.loads(FIGURES.read_text(encoding="utf-8")))
    if failed:
        console.print(f"Failed: {'; '.join(failed)}.", style="red", highlight=False)
        raise typer.Exit(FAILED)


if __name__ == "__main__":
    typer.run(main)
