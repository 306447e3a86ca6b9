"""Comparison of contenders that take turns; a ratio is that of two consecutive runs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import psutil

MIB = 2**20
SAMPLED_EVERY_S = 0.01


@dataclass(frozen=True)
class Run:
    """One run of a contender.

    Attributes:
        rate: units of work a second.
        cpu_ns: processor time of a unit in nanoseconds, of all threads and of the processes that it started and waited
            for. It moves less than the rate on a shared machine.
    """

    rate: float
    cpu_ns: float


class Stopwatch:
    """Measures from its creation on."""

    def __init__(self) -> None:
        self._cpu = sum(os.times()[:4])
        self._began = time.perf_counter()

    def run(self, count: int, *, seconds: float | None = None) -> Run:
        """What has happened since.

        Args:
            count: units of work.
            seconds: by the contender's own clock, where it measures less than the whole.
        """
        taken = time.perf_counter() - self._began if seconds is None else seconds
        return Run(count / taken, 1e9 * (sum(os.times()[:4]) - self._cpu) / count)


@dataclass
class PeakMemory:
    """This process's memory in MiB, without mapped files, whose pages the kernel drops when others need the memory.

    Attributes:
        before: at the beginning of the block.
        peak: the largest since.
    """

    before: float
    peak: float

    @property
    def growth(self) -> float:
        return self.peak - self.before


@contextmanager
def peak_memory() -> Iterator[PeakMemory]:
    """Sample the memory until the block ends."""
    process, ended = psutil.Process(), threading.Event()

    def private() -> float:
        memory = process.memory_info()
        # macOS does not say what is shared.
        return float(memory.rss - getattr(memory, "shared", 0)) / MIB

    before = private()
    found = PeakMemory(before, before)

    def watch() -> None:
        while not ended.wait(SAMPLED_EVERY_S):
            found.peak = max(found.peak, private())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        ended.set()
        watcher.join()


Contender = Callable[[], Run]
Runs = dict[str, list[Run]]


@dataclass(frozen=True)
class Spread:
    """Median and range of a few repeats."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        return cls(median(values), min(values), max(values))

    def shown(self, pattern: str) -> str:
        """The three values by a pattern of `str.format`: `0.85 (0.82 to 0.92)`."""
        return f"{pattern.format(self.median)} ({pattern.format(self.low)} to {pattern.format(self.high)})"


@dataclass(frozen=True)
class Comparison:
    """One thing that Millrace does, against its limit.

    Attributes:
        question: what the figure answers.
        ours, limit: what each of the two does.
        runs: by contender: `ours`, `limit`, and more for information.
        target: the required ratio of ours to the limit.
        unit: of the rates.
        peers: the ratios to reach to contenders that are other software; those that did not run have no figure.
        notes: context for the reader.
    """

    name: str
    question: str
    ours: str
    limit: str
    runs: Runs
    target: float
    unit: str = "records/s"
    peers: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def rates(self, contender: str) -> list[float]:
        return [run.rate for run in self.runs[contender]]

    def cpu_ns(self, contender: str) -> float:
        return median(run.cpu_ns for run in self.runs[contender])

    def ratio(self, to: str = "limit") -> Spread:
        """The ratio of ours to another contender, over pairs of consecutive runs."""
        return Spread.of([ours / other for ours, other in zip(self.rates("ours"), self.rates(to), strict=True)])

    @property
    def targets(self) -> dict[str, float]:
        """The ratio to reach to each contender that has one."""
        return {"limit": self.target, **{name: self.peers[name] for name in self.peers if name in self.runs}}

    @property
    def missed(self) -> list[str]:
        """The contenders whose ratio is below its target."""
        return [contender for contender, target in self.targets.items() if self.ratio(contender).median < target]

    def figures(self) -> list[dict[str, Any]]:
        """One for the limit and one for each peer, as `docs/benchmarks.json` has them."""
        return [
            {
                "name": self.name if contender == "limit" else f"{self.name}, beside {contender}",
                "ratio": round(self.ratio(contender).median, 3),
                "lowest": round(self.ratio(contender).low, 3),
                "highest": round(self.ratio(contender).high, 3),
                "target": target,
                "ours": round(median(self.rates("ours")), 1),
                "limit": round(median(self.rates(contender)), 1),
                "unit": self.unit,
                "cpu_ns": round(self.cpu_ns("ours")),
                "limit_cpu_ns": round(self.cpu_ns(contender)),
            }
            for contender, target in self.targets.items()
        ]


def take_turns(
    contenders: Mapping[str, Contender], *, repeats: int, on_round: Callable[[int], None], warm_up: bool = True
) -> Runs:
    """Run the contenders one after the other, `repeats` times; taking turns spreads the machine's other load over all.

    Args:
        contenders: by name; each does its work once.
        on_round: called with the number of each round before it begins, from 1.
        warm_up: run each once before.
    """
    runs: Runs = {name: [] for name in contenders}
    for number in range(0 if warm_up else 1, repeats + 1):
        on_round(number)
        for name, contender in contenders.items():
            run = contender()
            if number:
                runs[name].append(run)
    return runs
