"""Which samples of the source a batch holds, and whether the source still has them; `batch` keeps it in the ledger."""

import logging
from collections.abc import Mapping
from itertools import chain
from typing import Any

from include.definition.pipeline import Pipeline
from include.errors import MillraceError, NothingToDo
from include.exactly_once.entries import Batch
from include.ingest.chunk import check_samples, read_samples
from include.ingest.fit import CHECKED_FIRST, FitCheck, check_planned_share
from include.sources.base import Source, SourceChanged, fingerprint

log = logging.getLogger(__name__)


class SourceExhausted(NothingToDo):
    """Every sample of the source is in a batch already."""


class ConcurrentPlan(MillraceError):
    """Another batch of the pipeline was planned at the same time and committed first; the next attempt plans again."""


def new_batch(
    pipeline: Pipeline, source: Source, batch_id: str, records: int, before: Mapping[str, Any], run: str
) -> tuple[Batch, Source]:
    """The batch that begins where the batches before it end, and the source as its samples are read from it.

    Args:
        source: as it is now.
        records: how many samples the batch takes at most.
        before: the ledger's entry of the next position.

    Raises:
        SourceExhausted: nothing is left for a new batch.
        SourceChanged: the samples before the batch are different ones now.
        SourceRefused: a sample has no known label or does not fit the format.
        BatchRefused: too many of its samples are refused.
    """
    start = int(before["position"])
    source = source.resume(start, before.get("prefix", {}), records)
    available = source.count() - start
    left = source.uncounted()
    if available <= 0:
        raise SourceExhausted(
            f"The source of {pipeline.name} has nothing to send yet: {left}"
            if left
            else f"The source of {pipeline.name} has {start + available} samples and all are in earlier batches: "
            "nothing to send until it grows."
        )
    if left:
        log.info(left)
    count = min(records, available)
    prefix = source.prefix(start + count)
    spread = FitCheck(pipeline.format, step=-(-count // CHECKED_FIRST))
    samples = chain.from_iterable(read_samples(source, start, count))
    found = fingerprint(check_samples(pipeline, spread.watch(samples)))
    check_planned_share(pipeline, source, batch_id, start, count, spread)
    return Batch(start=start, count=count, fingerprint=found, run=run, prefix=prefix), source


def planned_source(pipeline: Pipeline, source: Source, batch_id: str, batch: Batch) -> Source:
    """The source as the samples of an earlier attempt's batch are read from it.

    Raises:
        SourceChanged: these samples, or those before them, are different ones now.
        SourceRefused: see `new_batch`.
    """
    # The prefix is checked first: it can name the changed sample, a fingerprint cannot.
    source = source.again(batch.start, batch.count, batch.prefix)
    samples = chain.from_iterable(read_samples(source, batch.start, batch.count))
    found = fingerprint(check_samples(pipeline, samples))
    if found != batch.fingerprint:
        raise source_changed(pipeline, batch_id, batch, f"their fingerprint is {found[:16]}")
    return source


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
