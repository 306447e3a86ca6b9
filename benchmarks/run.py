"""`python -m benchmarks.run`: four ratios, each to a limit that is measured in the same minutes."""

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
from typing import Annotated

import psutil
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import feed, images, produce, training
from benchmarks.measure import Comparison, Spread
from benchmarks.samples import samples
from include.exactly_once import ledger
from include.kafka.connection import KafkaConnection
from include.kafka.topics import TopicSpec, ensure_topics
from include.local.broker import running_cluster

BELOW = 1
TOPIC = TopicSpec("bench.samples", partitions=4)
PRODUCED = 40_000
TRAINED = 120_000
LONG_REPEATS = 3

# A pipe has no width, and the table needs more than the default of 80.
console = Console(width=None if sys.stdout.isatty() else 120)


def main(
    seed: Annotated[int, typer.Option(help="Seed of the samples, the shuffling and the weights.")] = 1,
    records: Annotated[int, typer.Option(help="Records in the log.", min=80_000)] = 240_000,
    repeats: Annotated[int, typer.Option(help="Runs of each contender; for training 3 at most.", min=1)] = 7,
) -> None:
    """Measure, print, and fail where a ratio is below its target."""
    logging.basicConfig(level=logging.ERROR)
    # As `include.training.launch` sets it for the trainer; it must be set before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    began = time.monotonic()
    console.print(_machine(seed))
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder, running_cluster(Path(folder)) as cluster:
        connection = KafkaConnection({"bootstrap.servers": cluster.bootstrap_servers})
        comparisons = list(_comparisons(connection, seed=seed, records=records, repeats=repeats))
    console.print(_table(comparisons))
    for comparison in comparisons:
        console.print(f"[bold]{comparison.name}[/]")
        for line in (f"ours: {comparison.ours}", f"limit: {comparison.limit}", *comparison.notes):
            console.print(f"  {line}", highlight=False)
    console.print(f"{time.monotonic() - began:.0f} s; load now {_load()}.", highlight=False)
    if below := [comparison.name for comparison in comparisons if not comparison.reached]:
        console.print(
            f"Below target: {', '.join(below)}; other work on this machine widens the spread, so run it again alone "
            "before looking for the cause."
        )
        raise typer.Exit(BELOW)


def _comparisons(connection: KafkaConnection, *, seed: int, records: int, repeats: int) -> Iterator[Comparison]:
    with console.status("") as status:

        def telling(name: str) -> Callable[[int], None]:
            return lambda number: status.update(f"{name}: round {number}")

        status.update(f"writing {records:,} records")
        everything = samples(records, seed)
        ensure_topics(connection, [TOPIC, ledger.ledger_topic()])
        manifest = produce.written(connection, TOPIC.name, everything, seed)
        few = everything[:PRODUCED]
        del everything
        yield images.compare(connection, seed=seed, repeats=repeats, on_round=telling("decoding JPEG"))
        yield feed.compare(connection, manifest, repeats=repeats, on_round=telling("feed"))
        yield produce.compare(connection, few, repeats=repeats, on_round=telling("transactional produce"))
        long_repeats = min(repeats, LONG_REPEATS)
        yield training.compare(
            connection, manifest, records=TRAINED, repeats=long_repeats, on_round=telling("training")
        )


def _table(comparisons: list[Comparison]) -> Table:
    table = Table(title="Millrace beside its limits (median, lowest to highest)")
    for heading in ("", "ratio", "target", "", "Millrace, records/s", "limit, records/s"):
        table.add_column(heading, justify="left" if not heading else "right")
    for comparison in sorted(comparisons, key=lambda item: item.name):
        table.add_row(
            comparison.name,
            comparison.ratio().shown("{:.2f}"),
            f"{comparison.target:.2f}",
            "[green]reached[/]" if comparison.reached else "[red]below[/]",
            Spread.of(comparison.rates["ours"]).shown("{:,.0f}"),
            Spread.of(comparison.rates["limit"]).shown("{:,.0f}"),
        )
        for other in comparison.rates.keys() - {"ours", "limit"}:
            table.add_row(
                f"  to {other}",
                comparison.ratio(other).shown("{:.2f}"),
                "",
                "",
                "",
                Spread.of(comparison.rates[other]).shown("{:,.0f}"),
                style="dim",
            )
    return table


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
    typer.run(main)
