"""The charts of a pipeline's last day."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, NonNegativeInt, TypeAdapter, ValidationError

from include.overview.history import EXACT, HOUR_S, HOURS, SAMPLED, Day, PredictRun
from millrace.page.charts import Chart, bars, lines
from millrace.page.results import results
from millrace.page.text import span

if TYPE_CHECKING:
    from include.definition.pipeline import Pipeline
    from include.overview.models import VersionDetail
    from millrace.page.site import Site

NAMES = {"samples": "Samples", "requests": "Requests", "predictions": "Predictions", "dead_letters": "Dead letters"}


SHOWN_LABELS = 40
MARKERS = "offsets also count the markers of transactions"


class FrozenRange(BaseModel):
    """What the page needs of a range that `FreezeRangesOperator` returns."""

    topic_id: str
    partition: NonNegativeInt
    start: NonNegativeInt


class FrozenRanges(BaseModel):
    """The same of all that it returns where it divides nothing."""

    ranges: list[FrozenRange]


FROZEN: TypeAdapter[FrozenRanges | list[list[FrozenRange]]] = TypeAdapter(FrozenRanges | list[list[FrozenRange]])


def day(site: Site, pipeline: Pipeline, now: float, *, with_runs: bool) -> Day:
    """The last day; see `DayReader.read` for the errors.

    Args:
        with_runs: whether the person may see what the runs of predictions have passed on: without, what waited is not
            known.
    """
    flow = site.flow(pipeline)
    backlog = flow.backlogs.get("predict") if flow else None

    def read() -> Day:
        runs = list(_runs(pipeline.name, now)) if with_runs else []
        rest = backlog.rest if backlog and with_runs else ()
        return site.day_reader(pipeline.name).read(site.connection(pipeline), pipeline, now, runs, rest)

    return site.days.get((pipeline.name, with_runs, backlog is None), read)


def _runs(name: str, now: float) -> Iterator[PredictRun]:
    since = datetime.fromtimestamp(now, UTC) - timedelta(hours=HOURS)
    for result in results(f"{name}.predict", "freeze_ranges", since):
        yield from _run(result.at, result.ended, result.value)


def _run(at: datetime, ended: datetime | None, value: Any) -> Iterator[PredictRun]:
    """The run, where its result is one of `FreezeRangesOperator`."""
    try:
        frozen = FROZEN.validate_python(value)
    except ValidationError:
        return
    ranges = frozen.ranges if isinstance(frozen, FrozenRanges) else [item for found in frozen for item in found]
    starts = {(item.topic_id, item.partition): item.start for item in ranges}
    yield PredictRun(_ms(at), None if ended is None else _ms(ended), starts)


def charts(found: Day) -> list[Chart]:
    """What waited, how long answers took, and what was written, by the hour."""
    hours = [_hour(begin) for begin in found.begins]
    shown = []
    if any(count is not None for count in found.waited):
        shown.append(
            lines(
                "Waiting requests, each hour",
                [("waiting", found.waited)],
                [*hours, "now"],
                over="At",
                write=lambda value: _count(value) if value <= EXACT else f"≈ {_count(value)}",
                level=_count,
                note=f"On the hour, in UTC. Beyond {EXACT} it may be fewer: {MARKERS}.",
            )
        )
    if any(found.latencies):
        half = [latency.median_s if latency else None for latency in found.latencies]
        most = [latency.high_s if latency else None for latency in found.latencies]
        series = [("half within", half), ("95 % within", most)]
        note = f"From the request's own time, of up to {SAMPLED} predictions from the middle of each hour, in UTC."
        shown.append(lines("Time to a prediction", series, hours, over="From", write=span, note=note))
    return shown + [
        bars(
            f"{name}, each hour",
            found.written[content],
            hours,
            name.lower().removesuffix("s"),
            end=_hour(found.begins[-1] + HOUR_S),
            rough=True,
            note=f"By the hour, in UTC. It may be fewer: {MARKERS}.",
        )
        for content, name in NAMES.items()
    ]


@dataclass(frozen=True)
class Share:
    """How often a label was predicted lately, and how many training samples of the champion have it."""

    label: str
    predicted: int
    trained: int


@dataclass(frozen=True)
class Balance:
    """The labels that are most frequent on either side, and the sums of all.

    Attributes:
        largest: the largest part of a label on either side, 0 to 1.
        version: of the champion; None where its card is not known.
    """

    shares: list[Share]
    predicted: int
    trained: int
    version: int | None
    largest: float


def balance(found: Day, champion: VersionDetail | None) -> Balance:
    """The balance of the newest predictions beside that of the samples that the champion has learnt from."""
    card = champion.card if champion else None
    predicted, trained = dict(found.predicted), card.train.samples if card else {}
    labels = sorted({*predicted, *trained}, key=lambda label: (-predicted.get(label, 0), -trained.get(label, 0), label))
    return Balance(
        [Share(label, predicted.get(label, 0), trained.get(label, 0)) for label in labels[:SHOWN_LABELS]],
        sum(predicted.values()),
        sum(trained.values()),
        champion.seen.version.number if champion and card else None,
        max((count / sum(side.values()) for side in (predicted, trained) for count in side.values()), default=1.0),
    )


def _hour(begin: int) -> str:
    return f"{datetime.fromtimestamp(begin, UTC):%d %b %H:%M}"


def _count(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


def _ms(time: datetime) -> int:
    return int(time.timestamp() * 1000)
