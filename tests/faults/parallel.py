"""Run scenarios at the same time, each in a process of its own."""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from unittest import SkipTest

from rich.console import Console

from tests.faults.rows import Row, Setting
from tests.faults.scenarios import run_scenario

# A pipe has no width of its own, and the table needs more than the usual 80.
console = Console(width=None if sys.stdout.isatty() else 120)


def run_scenarios(names: Sequence[str], seed: int, *, short: bool, at_once: int) -> dict[str, list[Row] | None]:
    """Each scenario's rows in a process of its own: scenarios change environment variables, and one may crash."""
    scenario = partial(_scenario, seed=seed, short=short)
    with ProcessPoolExecutor(at_once, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        return dict(zip(names, pool.map(scenario, names), strict=True))


def _scenario(name: str, seed: int, *, short: bool) -> list[Row] | None:
    """A scenario's rows: empty if this machine can't inflict its faults, None if it failed; its folder is kept then."""
    logging.basicConfig(level=logging.ERROR)
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix=f"millrace-faults-{name}-"))
    kept = False

    def say(text: str) -> None:
        console.print(f"{time.strftime('%X')} {name}: {text}", highlight=False)

    try:
        rows = run_scenario(name, Setting(folder, seed, short, say))
        say(f"{len(rows)} rows in {time.monotonic() - began:.0f} s.")
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
            shutil.rmtree(folder, ignore_errors=True)  # noqa: TID251 - this run's own
