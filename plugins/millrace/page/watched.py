"""What the watch of a served model has found, for the page of a pipeline."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from include.definition.tables import Watch
    from include.overview.ledger import SeenEntry

NAMES = {
    "input_drift": "Drift of the inputs",
    "prediction_drift": "Drift of the answers",
    "score": "Live score",
    "calibration_error": "Calibration error",
}
LIMITS = {
    "input_drift": "max_drift",
    "prediction_drift": "max_drift",
    "score": "min_score",
    "calibration_error": "max_calibration_error",
}


@dataclass(frozen=True)
class FigureSeen:
    """One figure.

    Attributes:
        value: None where there was too little to judge by.
        limit: None where the pipeline has none.
        of: how many answers it is of.
        most: the statistic that has drifted most; empty for a figure without statistics.
    """

    name: str
    value: float | None
    limit: float | None
    of: int
    over: bool
    most: str = ""


@dataclass(frozen=True)
class WatchSeen:
    """The last figures of the version that was watched last."""

    version: int
    at_ms: int
    figures: list[FigureSeen]


def watched(settings: Watch | None, entries: Iterable[SeenEntry]) -> WatchSeen | None:
    """The newest figures; None where the pipeline has no `[watch]`, or nothing was watched yet."""
    found = [entry for entry in entries if entry.fields is not None]
    if settings is None or not found:
        return None
    newest = max(found, key=lambda entry: entry.at_ms)
    fields = newest.fields or {}
    figures = []
    for key, name in NAMES.items():
        parts = {"input_drift": fields["inputs"], "prediction_drift": fields["answers"]}.get(key) or {}
        figures.append(
            FigureSeen(
                name=f"{name}, {fields['metric']}" if key == "score" else name,
                value=fields[key],
                limit=getattr(settings, LIMITS[key]),
                of=fields["samples" if key.endswith("drift") else "labelled"],
                over=key in fields["over"],
                most=max(parts, key=lambda part: parts[part], default=""),
            )
        )
    return WatchSeen(fields["version"], newest.at_ms, figures)
