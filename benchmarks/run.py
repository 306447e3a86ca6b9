"""`python -m benchmarks.run`: what Millrace does, beside its limits and its peers in the same minutes."""

from __future__ import annotations

import logging
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import division, feed, idle, images, ingest, latency, memory, prediction, produce, skip, training
from benchmarks.figures import duration, write
from benchmarks.measure import Comparison, Spread
from benchmarks.samples import samples
from include.exactly_once import ledger
from include.kafka.connection import KafkaConnection
from include.kafka.topics import TopicSpec, ensure_topics
from include.local.broker import running_cluster
from include.training.launch import DEFAULTS

BELOW = 1
TOPIC = TopicSpec("bench.samples", partitions=4)
PRODUCED = 120_000
LONG_REPEATS = 3

# A pipe has no width, and the table needs more than the default of 80.
console = Console(width=None if sys.stdout.isatty() else 140)


def main(
    seed: Annotated[int, typer.Option(help="Seed of the samples, the shuffling and the weights.")] = 1,
    records: Annotated[int, typer.Option(help="Records in the log.", min=1_000)] = 240_000,
    repeats: Annotated[int, typer.Option(help="Runs of each contender; for training 3 at most.", min=1)] = 7,
    only: Annotated[str, typer.Option(help="A part of the names of those to measure, such as feed.")] = "",
    figures: Annotated[Path | None, typer.Option(help="A file for the figures as JSON; a plot goes beside it.")] = None,
) -> None:
    """Measure, print, and fail where a ratio is below its target."""
    logging.basicConfig(level=logging.ERROR)
    began = time.monotonic()
    machine = _machine(seed)
    console.print(machine)
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder, running_cluster(Path(folder)) as cluster:
        connection = KafkaConnection({"bootstrap.servers": cluster.bootstrap_servers})
        comparisons = list(_comparisons(connection, only, seed=seed, records=records, repeats=repeats))
        waited = latency.measure(connection, seed=seed) if only in "latency" else None
    with console.status("") as status:
        from_idle = idle.measure(status.update) if only in "idle" else None
    if not comparisons and waited is None and from_idle is None:
        raise typer.BadParameter(
            f"Nothing was measured for {only!r}: name a part of a name, such as feed, or see above what was left out."
        )
    console.print(_table(comparisons))
    if waited is not None:
        console.print(
            f"From arrival to published answer with linger: {waited.shown('{:.2f}')} s, {latency.REQUESTS} requests at "
            f"{latency.PER_SECOND} a second.",
            highlight=False,
        )
    if from_idle is not None:
        console.print(
            f"From arrival to published answer from idle, through Airflow: {from_idle.shown('{:.1f}')} s, "
            f"{idle.REQUESTS} requests, each after the run for the one before it.",
            highlight=False,
        )
    for comparison in comparisons:
        console.print(f"[bold]{comparison.name}[/]: {comparison.question}", highlight=False)
        for line in (f"ours: {comparison.ours}", f"limit: {comparison.limit}", *comparison.notes):
            console.print(f"  {line}", highlight=False)
    console.print(f"{time.monotonic() - began:.0f} s; load now {_load()}.", highlight=False)
    if figures is not None:
        write(figures, _content(machine, comparisons, waited, from_idle))
    if below := [comparison.name for comparison in comparisons if comparison.missed]:
        console.print(
            f"Below target: {', '.join(below)}; other work on this machine widens the spread, so run it again alone "
            "before looking for the cause."
        )
        raise typer.Exit(BELOW)


def _comparisons(
    connection: KafkaConnection, only: str, *, seed: int, records: int, repeats: int
) -> Iterator[Comparison]:
    long_repeats = min(repeats, LONG_REPEATS)
    with console.status("") as status:

        def on_round(name: str) -> Callable[[int], None]:
            return lambda number: status.update(f"{name}: round {number}")

        status.update(f"writing {records:,} records")
        everything = samples(records, seed)
        ensure_topics(connection, [TOPIC, ledger.ledger_topic()])
        manifest = produce.written(connection, TOPIC.name, everything, seed)
        few = everything[:PRODUCED]
        del everything
        scenarios: dict[str, Callable[[Callable[[int], None]], Iterator[Comparison]]] = {
            "skip": lambda report: skip.compare(connection, repeats=repeats, on_round=report),
            "photographs": lambda report: images.compare(connection, seed=seed, repeats=repeats, on_round=report),
            "feed": lambda report: feed.compare(connection, manifest, repeats=repeats, on_round=report),
            "feed beside Ray Data": lambda report: feed.beside_ray_data(
                connection, manifest, repeats=repeats, on_round=report
            ),
            "produce": lambda report: produce.compare(connection, few, repeats=repeats, on_round=report),
            "ingest": lambda report: ingest.compare(connection, seed=seed, repeats=repeats, on_round=report),
            "predict": lambda report: prediction.compare(connection, few, repeats=repeats, on_round=report),
            "tasks": lambda report: division.compare(connection, few, repeats=repeats, on_round=report),
            "memory": lambda report: memory.compare(connection, manifest, on_round=report),
            "training": lambda report: training.compare(connection, manifest, repeats=long_repeats, on_round=report),
        }
        for name, compare in scenarios.items():
            if only in name:
                yield from compare(on_round(name))


def _table(comparisons: list[Comparison]) -> Table:
    table = Table(title="Millrace beside its limits (median, lowest to highest)")
    for heading in ("", "ratio", "target", "", "Millrace, a second", "limit, a second", "CPU", "limit's CPU"):
        table.add_column(heading, justify="left" if not heading else "right")
    for comparison in comparisons:
        targets = comparison.targets
        for contender in sorted(comparison.runs.keys() - {"ours"}, key=lambda name: (name not in targets, name)):
            target = targets.get(contender)
            verdict = "[red]below[/]" if contender in comparison.missed else "[green]reached[/]"
            table.add_row(
                comparison.name if contender == "limit" else f"  to {contender}",
                comparison.ratio(contender).shown("{:.2f}"),
                "" if target is None else f"{target:.2f}",
                "" if target is None else verdict,
                Spread.of(comparison.rates("ours")).shown("{:,.0f}") if contender == "limit" else "",
                Spread.of(comparison.rates(contender)).shown("{:,.0f}"),
                duration(comparison.cpu_ns("ours")) if contender == "limit" else "",
                duration(comparison.cpu_ns(contender)),
                style=None if target is not None else "dim",
            )
    return table


def _content(
    machine: str, comparisons: list[Comparison], waited: Spread | None, from_idle: Spread | None
) -> dict[str, Any]:
    return {
        "machine": machine,
        "figures": [figure for comparison in comparisons for figure in comparison.figures()],
        "latency_with_linger_s": None if waited is None else round(waited.median, 3),
        "latency_from_idle_s": None if from_idle is None else round(from_idle.median, 3),
    }


def _machine(seed: int) -> str:
    memory = psutil.virtual_memory().total / 2**30
    packages = ", ".join(f"{name} {version(name)}" for name in ("confluent-kafka", "torch", "numpy", "simplejpeg"))
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}, "
        f"Python {platform.python_version()}, {packages}; load {_load()}; seed {seed}."
    )


def _load() -> str:
    return ", ".join(f"{value:.1f}" for value in os.getloadavg())


if __name__ == "__main__":
    # The trainer's environment, which is read when a process begins.
    if DEFAULTS.keys() - os.environ.keys():
        command = [sys.executable, "-m", "benchmarks.run", *sys.argv[1:]]
        os.execve(sys.executable, command, DEFAULTS | dict(os.environ))  # noqa: S606 - this very program
    typer.run(main)
