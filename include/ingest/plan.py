"""Which samples of the source a batch holds: decided once, kept in the ledger, and checked by every later attempt."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from include.errors import MillraceError, NothingToDo
from include.ingest.chunk import check_samples, read_samples
from include.ingest.fit import refuse_unfit, spread_check
from include.kafka.errors import Fenced
from include.sources.base import SourceChanged, fingerprint

if TYPE_CHECKING:
    from include.definition.pipeline import Pipeline
    from include.exactly_once.attempt import Attempt
    from include.sources.base import Source

NEXT_POSITION = "next position"


class SourceExhausted(NothingToDo):
    """Every sample of the source is in a batch already."""


class ConcurrentPlan(MillraceError):
    """Another batch of the pipeline was planned at the same time and committed first; the next attempt plans again."""


@dataclass(frozen=True)
class Batch:
    """A batch as the ledger keeps it: source range `[start, start + count)` and how much of it is done.

    Attributes:
        sent: how many of its samples are done; `samples` + `requests` are in the topics, and `refused` were left out as
            too large or not of the pipeline's format.
        prefix: identifies the source's samples up to the batch's end, see `Source.prefix`.
    """

    start: int
    count: int
    fingerprint: str
    run: str
    sent: int = 0
    samples: int = 0
    requests: int = 0
    refused: int = 0
    prefix: dict[str, Any] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return self.sent >= self.count

    @property
    def in_topics(self) -> int:
        return self.samples + self.requests


def plan_batch(
    attempt: Attempt, pipeline: Pipeline, source: Source, batch_id: str, records: int
) -> tuple[Batch, Source]:
    """The batch, and the source as its samples are read from it.

    Call it while the batch's own writer is open: how far an earlier attempt has come is decided only then.

    Args:
        source: as it is now.
        records: how many samples a new batch takes at most; a planned batch keeps its range.

    Raises:
        SourceExhausted: nothing is left for a new batch.
        ConcurrentPlan: another batch was planned at the same time.
        SourceChanged: the planned samples, or those before them, are different ones now.
        SourceRefused: a sample has no known label or does not fit the format.
        BatchRefused: too many samples of a new batch are unfit; nothing was planned.
    """
    try:
        batch, chosen = _read_or_plan(attempt, pipeline, source, batch_id, records)
    except Fenced as error:
        # All batches share the id of planning, so this is not about a newer attempt at the same batch.
        raise ConcurrentPlan(
            f"Batch {batch_id} and another batch of {pipeline.name} were planned at the same time and the other one "
            "was committed first: the next attempt plans this one."
        ) from error
    if chosen is None and not batch.complete:
        # The prefix is checked first: it can name the changed sample, a fingerprint cannot.
        chosen = source.again(batch.start, batch.count, batch.prefix)
        found = _fingerprint(pipeline, chosen, batch.start, batch.count)
        if found != batch.fingerprint:
            raise source_changed(pipeline, batch_id, batch, f"their fingerprint is {found[:16]}")
    return batch, chosen or source


def _read_or_plan(
    attempt: Attempt, pipeline: Pipeline, source: Source, batch_id: str, records: int
) -> tuple[Batch, Source | None]:
    """The batch in the ledger; or a new one, and the source that it was planned from.

    All batches of a pipeline share one transactional id here, which makes this a compare-and-swap: an attempt that
    reads the next position and then commits was the only one to do so.
    """
    key, position_key = attempt.key(batch_id), attempt.key(NEXT_POSITION)
    with replace(attempt, step="ingest-plan", stopped=lambda: False).writer() as writer:
        entries = writer.read_ledger([key, position_key])
        if key in entries:
            return Batch(**entries[key]), None
        before = entries.get(position_key, {"position": 0})
        start = int(before["position"])
        source = source.resume(start, before.get("prefix", {}), records)
        available = source.count() - start
        if available <= 0:
            raise SourceExhausted(
                f"The source of {pipeline.name} has {start + available} samples and all are in earlier batches: "
                "nothing to send until it grows."
            )
        count = min(records, available)
        prefix = source.prefix(start + count)
        found = _checked_fingerprint(pipeline, source, batch_id, start, count)
        batch = Batch(start, count, found, attempt.run, prefix=prefix)
        with writer.transaction():
            writer.write_ledger(key, asdict(batch))
            writer.write_ledger(position_key, {"position": start + count, "prefix": prefix})
    return batch, source


def _fingerprint(pipeline: Pipeline, source: Source, start: int, count: int) -> str:
    samples = chain.from_iterable(read_samples(source, start, count))
    return fingerprint(check_samples(pipeline, samples))


def _checked_fingerprint(pipeline: Pipeline, source: Source, batch_id: str, start: int, count: int) -> str:
    """The fingerprint of a new batch of which not too many samples are unfit."""
    spread = spread_check(pipeline, count)
    samples = chain.from_iterable(read_samples(source, start, count))
    found = fingerprint(check_samples(pipeline, spread.watch(samples)))
    refuse_unfit(pipeline, source, batch_id, start, count, spread)
    return found


def source_changed(pipeline: Pipeline, batch_id: str, batch: Batch, now: str) -> SourceChanged:
    """The error for a batch whose samples are not the planned ones any more.

    Args:
        now: what they are, as the end of "and now ...".
    """
    return SourceChanged(
        f"The source of {pipeline.name} changed under batch {batch_id}: samples {batch.start} to "
        f"{batch.start + batch.count} had fingerprint {batch.fingerprint[:16]} when the batch was planned and now "
        f"{now}; restore the source, or leave this batch as it is and trigger a new run."
    )
