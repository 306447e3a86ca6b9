"""Figures for a run's page in MLflow."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from include.errors import printable
from include.network.mistakes import Mistake

NUMBERED_LABELS = 20
SHOWN_CHARACTERS = 40


class Confusion(BaseModel):
    """A confusion matrix as a file.

    Attributes:
        counts: by true label (row) and predicted label (column).
        mistakes: some of the samples behind the counts off the diagonal.
    """

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    mistakes: tuple[Mistake, ...] = ()


def draw_confusion(path: Path, confusion: Sequence[Sequence[int]], labels: Sequence[str], title: str) -> None:
    """A confusion matrix as PNG: true labels down, predicted ones across, shaded by the share of each row.

    Args:
        confusion: counts of shape (classes, classes).
    """
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    counts = np.asarray(confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(max(3.0 + 0.4 * len(labels), 4.0), 24.0)
    figure = Figure(figsize=(side, side), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(title=title, xlabel="predicted label", ylabel="true label")
    # A label is text of another program: no formula, one line, and short enough to leave room for the matrix.
    names = [_shown(label) for label in labels]
    rotation = 45 if max(map(len, names)) > 3 else 0
    axes.set_xticks(range(len(labels)), names, rotation=rotation, parse_math=False)
    axes.set_yticks(range(len(labels)), names, parse_math=False)
    if len(labels) <= NUMBERED_LABELS:
        for row, column in np.argwhere(counts > 0):
            shade = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=shade)
    FigureCanvasAgg(figure).print_png(str(path))  # type: ignore[no-untyped-call]


def _shown(label: str) -> str:
    text = printable(label)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"
