"""The page of dead letters: its chart, and what the replay form is filled with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from include.overview.deaths import Letter, NewestDeadLetters, dead_letter_at, newest_dead_letters
from millrace.page.charts import Chart, bars
from millrace.page.site import WORKFLOWS, Site

if TYPE_CHECKING:
    from include.definition.pipeline import Pipeline

# How many dead letters a page shows.
SHOWN = 24
BUCKETS = 48
MINUTE_MS, DAY_MS = 60_000, 86_400_000


def deaths(site: Site, pipeline: Pipeline, reason: str) -> NewestDeadLetters:
    """The newest dead letters; see `newest_dead_letters` for the errors."""
    return site.deaths.get(
        (pipeline.name, reason),
        lambda: newest_dead_letters(
            site.connection(pipeline), pipeline, SHOWN, reason=reason, replayed=_replayed(site, pipeline)
        ),
    )


def death(site: Site, pipeline: Pipeline, partition: int, offset: int) -> Letter | None:
    """A dead letter; see `newest_dead_letters` for the errors."""
    return site.letters.get(
        (pipeline.name, partition, offset),
        lambda: dead_letter_at(
            site.connection(pipeline), pipeline, partition, offset, replayed=_replayed(site, pipeline)
        ),
    )


def count(found: NewestDeadLetters, reason: str) -> int | None:
    """How many dead letters have a reason; None where not all were counted."""
    return next((seen.count for seen in found.reasons if seen.reason == reason), None) if found.complete else None


def original(pipeline: Pipeline, letter: Letter) -> str:
    """The partition and offset of its request, as an address of the page has them; empty where it names none."""
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,18})", letter.origin.removeprefix(f"{pipeline.requests_topic}/"))
    return found[0] if found and letter.origin != found[0] else ""


def run_of(pipeline: Pipeline, letter: Letter) -> str:
    """The run of the pipeline that published it, as an address of Airflow has it; empty where it names none."""
    dag_id, _, run = letter.run.partition("/")
    known = dag_id in (f"{pipeline.name}.{workflow}" for workflow in WORKFLOWS)
    return f"dags/{dag_id}/runs/{quote(run, safe='')}" if known and run.strip(".") else ""


def _replayed(site: Site, pipeline: Pipeline) -> frozenset[str]:
    flow = site.flow(pipeline)
    return flow.replayed if flow else frozenset()


def times_chart(times: Sequence[int], now: float) -> Chart:
    """When the newest dead letters died, over the last day or as long as they reach back if that is less."""
    now_ms = int(now * 1000)
    span = max(min(now_ms - min(times), DAY_MS), BUCKETS * 1000)
    counts = [0] * BUCKETS
    for time_ms in times:
        age = max(now_ms - time_ms, 0)
        if age <= span:
            counts[BUCKETS - 1 - min(age * BUCKETS // span, BUCKETS - 1)] += 1
    begins = [now_ms - span + span * part / BUCKETS for part in range(BUCKETS)]
    # Buckets of less than a minute would share their names.
    pattern = "%d %b %H:%M" if span >= BUCKETS * MINUTE_MS else "%d %b %H:%M:%S"
    places = [datetime.fromtimestamp(begin / 1000, UTC).strftime(pattern) for begin in begins]
    return bars("When they died (UTC)", counts, places, "dead letter", end="now")


def since_of(found: NewestDeadLetters | None, reason: str) -> str:
    """The time of the first dead letter of a reason, as a field of a form takes it; empty where none is chosen."""
    first = next((seen.first_ms for seen in found.reasons if seen.reason == reason), None) if found else None
    if first is None:
        return ""
    try:
        return f"{datetime.fromtimestamp(first // 1000, UTC):%Y-%m-%dT%H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return ""
