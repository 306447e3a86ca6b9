"""The charts of a pipeline's last day."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from include.overview.history import HOURS, Day, last_day
from millrace.page.charts import Chart, bars

if TYPE_CHECKING:
    from include.definition.pipeline import Pipeline
    from millrace.page.site import Site

NAMES = {"samples": "Samples", "requests": "Requests", "predictions": "Predictions", "dead_letters": "Dead letters"}


def day(site: Site, pipeline: Pipeline, now: float) -> Day:
    """The last day; see `last_day` for the errors."""
    return site.days.get(pipeline.name, lambda: last_day(site.connection(pipeline), pipeline, now))


def charts(found: Day, now: float) -> list[Chart]:
    """What was written by the hour."""
    hours = [f"{datetime.fromtimestamp(now - HOURS * 3600 * (1 - part / 4), UTC):%d %b %H:%M}" for part in range(5)]
    return [
        bars(f"{NAMES[content]} an hour, in offsets (UTC)", counts, hours, "offsets")
        for content, counts in found.written.items()
    ]
