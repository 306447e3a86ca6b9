"""`millrace demo`: the whole way once, from the source to predictions, on a real broker and Airflow."""

import os
import sys
import time
from collections.abc import Mapping
from typing import Annotated

import typer
from rich.console import Console

from include.commands.console import exit_on_error, say, show_steps
from include.commands.stack import print_access
from include.local import stack as local
from include.local.broker.jars import jars_dir
from include.local.broker.security import STEP_CONNECTIONS
from include.local.demo import TIMEOUT_S, Demo, demo_pipelines
from include.local.display import print_result, print_seconds, print_summary, progress
from include.local.environment import CONNECTION, Layout
from include.storage.state import state_dir

_WATCH_S = 1.0
INTERRUPTED = 130


def demo(
    leave: Annotated[
        bool, typer.Option("--exit", help="Stop after the summary also on a terminal; elsewhere that is so anyway.")
    ] = False,
    batches: Annotated[int, typer.Option(min=1, help="Ingest runs per pipeline, unless its source ends before.")] = 2,
    timeout: Annotated[float, typer.Option(help="Seconds for each pipeline's runs.")] = TIMEOUT_S,
    secure: Annotated[
        bool, typer.Option("--secure", help="On a broker with TLS, logins and ACLs, with a state of its own.")
    ] = False,
) -> None:
    """Start everything, run every pipeline's DAGs, check what they published, and stop everything.

    On a terminal it stays up after the summary, until Ctrl-C. The exit status is 0 only if every step is true.
    """
    began = time.monotonic()
    if secure:
        # Topics, models and progress belong to one broker. The jars are shared.
        os.environ["MILLRACE_JARS"] = str(jars_dir())
        os.environ["MILLRACE_STATE"] = str(Layout(state_dir()).secured)
    layout = Layout(state_dir())
    try:
        with exit_on_error():
            pipelines, left_out = demo_pipelines((CONNECTION, *(STEP_CONNECTIONS if secure else ())))
            for sentence in left_out:
                say(sentence)
            if running := local.attach(layout):
                _demonstrate(Demo(running, pipelines, batches), timeout, began, start={})
                say("The stack ran already, and goes on in the background: `make down` stops it.")
                return
            with show_steps("Starting the stack") as on_step:
                running = local.start(layout, tie=True, secure=secure, on_step=on_step)
            try:
                _demonstrate(Demo(running, pipelines, batches), timeout, began, start=running.record.seconds)
                if sys.stdout.isatty() and not leave:
                    _stay(running)
            finally:
                _stop(running)
    except KeyboardInterrupt:
        say("Interrupted; everything that was started is stopped.")
        raise typer.Exit(INTERRUPTED) from None


def _demonstrate(shown: Demo, timeout: float, began: float, *, start: Mapping[str, float]) -> None:
    console = Console()
    say(f"Airflow is ready at {shown.stack.record.url}; the DAGs begin.")
    with progress(console) as on_runs:
        results = shown.run(on_runs, lambda result: print_result(console, result), timeout_s=timeout)
    runs = [run for result in results for run in result.runs]
    print_seconds(console, start, runs, time.monotonic() - began)
    print_summary(console, results)
    print_access(console, shown.stack)


def _stay(running: local.Stack) -> None:
    say("Everything stays up; Ctrl-C stops it.")
    try:
        while True:
            running.check()
            time.sleep(_WATCH_S)
    except KeyboardInterrupt:
        say("")


def _stop(running: local.Stack) -> None:
    began = time.monotonic()
    say("Stopping everything.")
    running.stop()
    say(f"Everything is stopped ({time.monotonic() - began:.1f} s); the state stays.")
