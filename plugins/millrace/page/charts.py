"""The geometry of charts; `templates/charts.html` draws them as SVG, and the style sheet has their colours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from include.errors import amount

WIDTH, HEIGHT = 640, 150
# Room for the numbers beside and the times below the plot.
LEFT, RIGHT, TOP, BOTTOM = 52, 8, 8, 22
# One point alone is a dash, this long to either side.
LONE = 4
# A time below the plot is about so wide.
TEXT = 80
# Places that are named there, at most.
TICKS = 5
PLOT_WIDTH, PLOT_HEIGHT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM


@dataclass(frozen=True)
class Bar:
    """A bar by its place, and what it says."""

    x: float
    y: float
    width: float
    height: float
    text: str


@dataclass(frozen=True)
class Line:
    """A line by its name and the points of an SVG polyline."""

    name: str
    points: str


@dataclass(frozen=True)
class Tick:
    """A text beside or below the plot, by its place."""

    at: float
    text: str


@dataclass(frozen=True)
class Chart:
    """What is drawn; each number is in the units of the drawing.

    Attributes:
        note: how to read it, sentences; empty where the title says it.
        summary: what it shows, for who can't see it.
        names, rows: the same numbers as a table.
    """

    title: str
    summary: str
    levels: tuple[Tick, ...]
    places: tuple[Tick, ...]
    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    bars: tuple[Bar, ...] = ()
    lines: tuple[Line, ...] = ()
    note: str = ""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT

    def reaches_the_end(self, tick: Tick) -> bool:
        """Whether a text below this place would leave the drawing if it were centred."""
        return tick.at > self.right - TEXT / 2


def bars(
    title: str,
    values: Sequence[int],
    places: Sequence[str],
    unit: str,
    *,
    end: str,
    rough: bool = False,
    note: str = "",
) -> Chart:
    """Bars of equal width.

    Args:
        places: where each bar begins, a text.
        unit: what is counted, in the singular.
        end: where the last bar ends.
        rough: whether the numbers are about right.
    """

    def roughly(value: int, text: str) -> str:
        return f"≈ {text}" if rough and value else text

    whole, most = sum(values), max(values, default=0)
    top = _nice(most)
    width = PLOT_WIDTH / max(len(values), 1)
    return Chart(
        title,
        f"{title}: {roughly(whole, amount(whole, unit))} in all, {roughly(most, f'{most:,}')} at most",
        _levels(0, top),
        _spread([*places, end], width),
        ("From", f"{unit.capitalize()}s"),
        tuple((place, roughly(value, f"{value:,}")) for place, value in zip(places, values, strict=True)),
        bars=tuple(
            Bar(
                LEFT + place * width + 0.5,
                _y(value, 0, top),
                max(width - 1, 0.5),
                _y(0, 0, top) - _y(value, 0, top),
                f"{roughly(value, amount(value, unit))}, {places[place]}",
            )
            for place, value in enumerate(values)
            if value > 0
        ),
        note=note,
    )


def lines(
    title: str,
    series: Sequence[tuple[str, Sequence[float | None]]],
    places: Sequence[str],
    *,
    over: str,
    write: Callable[[float], str] = "{:.4g}".format,
    level: Callable[[float], str] | None = None,
    from_zero: bool = True,
    note: str = "",
) -> Chart:
    """Lines by name over the same places; where a number is missing or not finite a line has no point.

    Args:
        places: of the points, texts.
        over: what the places are.
        write: a number as a person reads it.
        level: the same beside the drawing, where that is another text.
        from_zero: whether the drawing begins at 0, and not below the smallest number.
    """
    known = [(name, [*map(_finite, values), *[None] * (len(places) - len(values))]) for name, values in series]
    finite = [value for _, values in known for value in values if value is not None]
    low, top = min(0.0, *finite) if finite else 0.0, _nice(max(finite, default=0.0))
    if finite and not from_zero:
        room = (max(finite) - min(finite) or abs(max(finite)) or 1.0) / 10
        low, top = min(finite) - room, max(finite) + room
    step = PLOT_WIDTH / max(len(places) - 1, 1)
    drawn = []
    for name, values in known:
        points = [(LEFT + place * step, _y(value, low, top)) for place, value in enumerate(values) if value is not None]
        if len(points) == 1:
            ((x, y),) = points
            points = [(x - LONE, y), (x + LONE, y)]
        drawn.append(Line(name, " ".join(f"{x:.1f},{y:.1f}" for x, y in points)))
    ends = ((name, [value for value in values if value is not None]) for name, values in known)
    last = ", ".join(f"{name} ends at {write(values[-1])}" for name, values in ends if values)
    return Chart(
        title,
        f"{title}: {last or 'nothing yet'}",
        _levels(low, top, level or write),
        _spread(places, step),
        (over, *(name for name, _ in known)),
        tuple(
            (place, *("-" if value is None else write(value) for value in row))
            for place, row in zip(places, zip(*(values for _, values in known), strict=True), strict=True)
        ),
        lines=tuple(drawn),
        note=note,
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _levels(low: float, top: float, write: Callable[[float], str] | None = None) -> tuple[Tick, ...]:
    return tuple(Tick(_y(value, low, top), (write or _short)(value)) for value in (low, (low + top) / 2, top))


def _spread(places: Sequence[str], step: float) -> tuple[Tick, ...]:
    """A few of the places from the first on, all as far apart."""
    apart = max(math.ceil((len(places) - 1) / (TICKS - 1)), 1)
    return tuple(Tick(LEFT + place * step, places[place]) for place in range(0, len(places), apart))


def _y(value: float, low: float, top: float) -> float:
    return TOP + PLOT_HEIGHT * (1 - (value - low) / ((top - low) or 1))


def _nice(value: float) -> float:
    """The next round number above: 1, 2 or 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if value <= step * power)


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:.3g}"
