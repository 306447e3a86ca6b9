"""The geometry of charts; `templates/charts.html` draws them as SVG, and the style sheet has their colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 640, 150
# Room for the numbers beside and the times below the plot.
LEFT, RIGHT, TOP, BOTTOM = 52, 8, 8, 22
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
        summary: what it shows, for who can't see it.
    """

    title: str
    summary: str
    levels: tuple[Tick, ...]
    times: tuple[Tick, ...]
    bars: tuple[Bar, ...] = ()
    lines: tuple[Line, ...] = ()
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT


def bars(title: str, values: Sequence[float], times: Sequence[str], unit: str) -> Chart:
    """Bars of equal width.

    Args:
        times: texts below the plot, spread over its width.
        unit: what is counted, in the plural.
    """
    top = _nice(max(values, default=0))
    width = PLOT_WIDTH / max(len(values), 1)
    return Chart(
        title,
        f"{title}: {sum(values):,.0f} {unit} in all, {max(values, default=0):,.0f} at most",
        _levels(0, top),
        _spread(times),
        bars=tuple(
            Bar(
                LEFT + place * width + 0.5,
                _y(value, 0, top),
                max(width - 1, 0.5),
                _y(0, 0, top) - _y(value, 0, top),
                f"{value:,.0f} {unit}",
            )
            for place, value in enumerate(values)
            if value > 0
        ),
    )


def lines(title: str, series: Sequence[tuple[str, Sequence[float]]], times: Sequence[str]) -> Chart:
    """Lines by name over the same places; what is no finite number is left out."""
    finite = [value for _, values in series for value in values if math.isfinite(value)]
    low, top = min(0.0, *finite) if finite else 0.0, _nice(max(finite, default=0.0))
    drawn = []
    for name, values in series:
        step = PLOT_WIDTH / max(len(values) - 1, 1)
        points = (
            f"{LEFT + place * step:.1f},{_y(value, low, top):.1f}"
            for place, value in enumerate(values)
            if math.isfinite(value)
        )
        drawn.append(Line(name, " ".join(points)))
    last = ", ".join(f"{name} ends at {values[-1]:.4g}" for name, values in series if values)
    return Chart(title, f"{title}: {last or 'nothing yet'}", _levels(low, top), _spread(times), lines=tuple(drawn))


def _levels(low: float, top: float) -> tuple[Tick, ...]:
    return tuple(Tick(_y(value, low, top), _short(value)) for value in (low, (low + top) / 2, top))


def _spread(texts: Sequence[str]) -> tuple[Tick, ...]:
    step = PLOT_WIDTH / max(len(texts) - 1, 1)
    return tuple(Tick(LEFT + place * step, text) for place, text in enumerate(texts))


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
