"""What the watch of a served model has found, for the page of a pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from millrace.page.charts import Chart, lines
from millrace.page.results import Result, results

if TYPE_CHECKING:
    from include.definition.tables import Watch
    from include.overview.ledger import DatedEntry

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


# Looks whose figures are drawn.
SHOWN_LOOKS = 60


@dataclass(frozen=True)
class FigureView:
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
class WatchView:
    """The last figures of the version that was watched last."""

    version: int
    at_ms: int
    figures: list[FigureView]


def watched(settings: Watch | None, entries: Iterable[DatedEntry]) -> WatchView | None:
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
            FigureView(
                name=f"{name}, {fields['metric']}" if key == "score" else name,
                value=fields[key],
                limit=getattr(settings, LIMITS[key]),
                of=fields["samples" if key.endswith("drift") else "labelled"],
                over=key in fields["over"],
                most=max(parts, key=lambda part: parts[part], default=""),
            )
        )
    return WatchView(fields["version"], newest.at_ms, figures)


class Look(BaseModel):
    """What the page draws of a result of `WatchModelOperator`; see `include.watching.watch.Figures`."""

    model_config = ConfigDict(strict=True)

    version: int
    metric: str
    input_drift: float | None
    prediction_drift: float | None
    score: float | None
    calibration_error: float | None


def looks(name: str) -> list[tuple[datetime, Look]]:
    """What the watch of a pipeline has returned, the newest looks, the oldest first."""
    return list(_readable(results(f"{name}.watch", "watch_model", datetime.fromtimestamp(0, UTC), SHOWN_LOOKS)))


def _readable(found: Iterable[Result]) -> Iterator[tuple[datetime, Look]]:
    for result in found:
        try:
            yield result.at, Look.model_validate(result.value)
        except ValidationError:
            continue


def charts(settings: Watch | None, found: Sequence[tuple[datetime, Look]]) -> list[Chart]:
    """The figures by look, with their limits: drift, live score and calibration, as far as they are known."""
    places = [f"{at.astimezone(UTC):%d %b %H:%M} v{look.version}" for at, look in found]
    score = f"Live {found[-1][1].metric}" if found else ""
    drawn = []
    for title, named in (
        ("Drift", {"inputs": "input_drift", "answers": "prediction_drift"}),
        (score, {"score": "score"}),
        ("Calibration error", {"calibration error": "calibration_error"}),
    ):
        series = [(name, [getattr(look, field) for _, look in found]) for name, field in named.items()]
        if all(value is None for _, values in series for value in values):
            continue
        limit = getattr(settings, LIMITS[next(iter(named.values()))], None)
        if limit is not None:
            series.append(("limit", [limit] * len(found)))
        drawn.append(lines(f"{title}, by look (UTC)", series, places, over="At", from_zero=title != score))
    return drawn
