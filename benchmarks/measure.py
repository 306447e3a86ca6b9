"""Comparison of contenders that take turns; a ratio is that of two consecutive runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

Rates = dict[str, list[float]]


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
        ours, limit: what each of the two does.
        rates: repeats by contender: `ours`, `limit`, and more for information; records a second.
        target: the required ratio of ours to the limit.
        notes: context for the reader.
    """

    name: str
    ours: str
    limit: str
    rates: Rates
    target: float
    notes: tuple[str, ...] = ()

    def ratio(self, to: str = "limit") -> Spread:
        """The ratio of ours to another contender, over pairs of consecutive runs."""
        return Spread.of([ours / other for ours, other in zip(self.rates["ours"], self.rates[to], strict=True)])

    @property
    def reached(self) -> bool:
        return self.ratio().median >= self.target


def take_turns(
    contenders: Mapping[str, Callable[[], float]], *, repeats: int, on_round: Callable[[int], None]
) -> Rates:
    """Run the contenders one after the other, `repeats` times; warm them up before.

    Taking turns spreads the machine's other load over all of them.

    Args:
        contenders: by name; each does its work once and returns records a second.
        on_round: called with the number of each round before it begins, from 1.
    """
    rates: Rates = {name: [] for name in contenders}
    for number in range(1, repeats + 1):
        on_round(number)
        for name, contender in contenders.items():
            rates[name].append(contender())
    return rates
