"""One batch of a source: its range is fixed once, then sent in transactions that the ledger counts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from include.errors import MillraceError, NothingToDo, PermanentError, Stopped
from include.exactly_once import ledger
from include.exactly_once.ledger import LedgerKey
from include.exactly_once.transaction import TransactionalWriter
from include.ingest.chunk import SourceChunk, encode_chunk, usable
from include.ingest.prefetch import prefetch
from include.ingest.topic import readable
from include.kafka.errors import Fenced, RecordTooLarge
from include.kafka.headers import write_headers
from include.kafka.records import OutgoingRecord
from include.metrics import Counters, NoMetrics
from include.sources.base import SourceChanged, fingerprint

if TYPE_CHECKING:
    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection
    from include.kafka.signing import SigningKeys
    from include.metrics import Metrics
    from include.sources.base import Source, SourceSample

log = logging.getLogger(__name__)

STEP = "ingest"
CHUNK_SAMPLES = 5000
REFUSALS_TOLD = 5


class SourceExhausted(NothingToDo):
    """Every sample of the source is in a batch already."""


class BatchRefused(PermanentError):
    """Not one sample of a batch fits its topic and its format."""


class PlannedTogether(MillraceError):
    """Another batch of the pipeline was planned at the same moment and had the say; the next attempt plans this one."""


@dataclass(frozen=True)
class Batch:
    """A batch as the ledger keeps it: source range `[start, start + count)` and how much of it is done.

    Attributes:
        sent: how many of its samples are done; `samples` + `requests` in the topics, and `refused` as too large or not
            of the pipeline's format.
        prefix: what the source's samples up to the batch's end are, see `Source.prefix`.
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


@dataclass(frozen=True)
class IngestResult:
    """What a batch holds, what of it was left out as too large or unfit, and whether this attempt sent any of it."""

    batch: str
    start: int
    samples: int
    requests: int
    refused: int
    sent_now: int
    same_run: bool


def ingest_batch(
    connection: KafkaConnection,
    pipeline: Pipeline,
    batch_id: str,
    *,
    records: int,
    run: str,
    stopped: Callable[[], bool] = lambda: False,
    metrics: Metrics | None = None,
) -> IngestResult:
    """Send a batch to the pipeline's topics, or find that it is there.

    Args:
        batch_id: what names the batch for ever: its data interval, or the run's id.
        records: how many samples a new batch takes; a batch whose range is fixed keeps it.
        stopped: looked at between chunks, and before each commit.

    Raises:
        SourceExhausted: nothing is left for a new batch.
        PlannedTogether: another batch was planned at the same moment; nothing was sent of this one.
        SourceChanged: the source's fingerprint is not that of the first attempt, or earlier samples are not those that
            were sent.
        SourceRefused: the source can't be used, or has what the pipeline has no label or format for; nothing was sent.
        BatchRefused: no sample fits its topic and format; where some do, the others are told and left out.
        InvalidSigningKeys: records have to be signed and there is no key.
        Fenced, TransactionFailed: see `TransactionalWriter`.
    """
    pipeline = _with_source(pipeline, readable(_source(pipeline), pipeline, connection).open())
    key = _key(connection, pipeline, batch_id)
    keys = connection.signing_keys(signed=pipeline.signed)
    transactional_id = f"{connection.environment}.{pipeline.name}.{STEP}.{batch_id}"
    topics = (pipeline.samples_topic, pipeline.requests_topic)
    with TransactionalWriter(connection, transactional_id, topics=topics, stopped=stopped) as writer:
        # Only now, with every earlier attempt fenced, is it decided what that attempt has sent. A killed one's open
        # transaction would also hold up whoever reads the ledger, until the broker gives it up a minute later.
        batch, source = _fix_range(connection, pipeline, batch_id, records, run)
        if source is not None:
            pipeline = _with_source(pipeline, source)
        elif not batch.complete:
            # First what can name the sample that changed everything behind it.
            pipeline = _with_source(pipeline, _source(pipeline).again(batch.start, batch.count, batch.prefix))
            _check_fingerprint(pipeline, batch_id, batch)
        begun = batch
        for chunk in prefetch(_chunks(pipeline, batch_id, batch)):
            if stopped():
                raise Stopped(
                    f"Stopped after {batch.sent} of {batch.count} samples; the next attempt sends the others."
                )
            batch = _send(writer, pipeline, key, batch, chunk, keys)
            log.info("Batch %s: %d of %d samples are in the topics.", batch_id, _in_topics(batch), batch.count)
    sent_now = _in_topics(batch) - _in_topics(begun)
    if not sent_now:
        log.info("Batch %s is in the topics already, sent by run %s; nothing was sent.", batch_id, batch.run)
    metrics = metrics or NoMetrics()
    metrics.count(Counters.INGESTED, sent_now, pipeline=pipeline.name)
    metrics.count(Counters.REFUSED, batch.refused - begun.refused, pipeline=pipeline.name)
    if not _in_topics(batch):
        raise BatchRefused(
            f"All {batch.refused} samples of batch {batch_id} of {pipeline.name} were left out, as larger than the "
            f"{pipeline.topics.max_record_bytes} bytes that its topics were made for or as no {pipeline.format.kind}, "
            f"which the log of the attempt that read them tells: raise max.message.bytes of {' and '.join(topics)}, or "
            "correct the samples, and send them in a new run."
        )
    return IngestResult(
        batch_id, batch.start, batch.samples, batch.requests, batch.refused, sent_now, same_run=batch.run == run
    )


def _with_source(pipeline: Pipeline, source: Source) -> Pipeline:
    return pipeline.model_copy(update={"source": source})


def _in_topics(batch: Batch) -> int:
    return batch.samples + batch.requests


def _source(pipeline: Pipeline) -> Source:
    if pipeline.source is None:
        raise PermanentError(f"Pipeline {pipeline.name} has no [source]: others fill its topics, so nothing is sent.")
    return pipeline.source


def _key(connection: KafkaConnection, pipeline: Pipeline, scope: str) -> LedgerKey:
    return LedgerKey(connection.environment, pipeline.name, STEP, scope)


def _fix_range(
    connection: KafkaConnection, pipeline: Pipeline, batch_id: str, records: int, run: str
) -> tuple[Batch, Source | None]:
    """The batch as the ledger has it, and what it is taken from where its range was fixed just now.

    One transactional id for all batches of a pipeline makes this a compare-and-swap: who reads the position after
    `init_transactions` and commits was alone.
    """
    try:
        return _plan(connection, pipeline, batch_id, records, run)
    except Fenced as error:
        # All batches share the planning's id, so this does not speak of a newer attempt at the same batch.
        raise PlannedTogether(
            f"Batch {batch_id} and another batch of {pipeline.name} were planned at the same moment and the other one "
            "came first: the next attempt plans this one."
        ) from error


def _plan(
    connection: KafkaConnection, pipeline: Pipeline, batch_id: str, records: int, run: str
) -> tuple[Batch, Source | None]:
    key, position_key = (_key(connection, pipeline, scope) for scope in (batch_id, "next position"))
    with TransactionalWriter(connection, f"{connection.environment}.{pipeline.name}.{STEP}-plan") as writer:
        known = ledger.read(connection, [key, position_key])
        if key in known:
            return Batch(**known[key]), None
        before = known.get(position_key, {"position": 0})
        start = int(before["position"])
        source = _source(pipeline).resume(start, before.get("prefix", {}), records)
        available = source.count() - start
        if available <= 0:
            raise SourceExhausted(
                f"The source of {pipeline.name} has {start + available} samples and all are in earlier batches: "
                "nothing to send until it grows."
            )
        count = min(records, available)
        prefix = source.prefix(start + count)
        found = _fingerprint(_with_source(pipeline, source), start, count)
        batch = Batch(start, count, found, run, prefix=prefix)
        with writer.transaction():
            ledger.record(writer, key, asdict(batch))
            ledger.record(writer, position_key, {"position": start + count, "prefix": prefix})
    return batch, source


def _chunks(pipeline: Pipeline, batch_id: str, batch: Batch) -> Iterator[SourceChunk]:
    """What is left of a batch."""
    sent = batch.sent
    for samples in _read(pipeline, batch.start + sent, batch.count - sent):
        yield encode_chunk(pipeline, samples)
        sent += len(samples)
    if sent < batch.count:
        raise SourceChanged(_changed(pipeline, batch_id, batch, "it ends earlier"))


def _read(pipeline: Pipeline, start: int, count: int) -> Iterator[list[SourceSample]]:
    """The source's samples in parts; fewer than `count` only where it ends."""
    end = start + count
    while start < end:
        samples = _source(pipeline).read(start, min(CHUNK_SAMPLES, end - start))
        if not samples:
            return
        yield samples
        start += len(samples)


def _send(
    writer: TransactionalWriter,
    pipeline: Pipeline,
    key: LedgerKey,
    batch: Batch,
    chunk: SourceChunk,
    keys: SigningKeys | None,
) -> Batch:
    """One chunk in one transaction, and the ledger's entry with it; what its topic would refuse is left out."""
    counts = [0, 0]
    refused: list[object] = [*chunk.unfit]
    schema, topics = pipeline.format.schema_name, (pipeline.samples_topic, pipeline.requests_topic)
    with writer.transaction():
        # Records are made one at a time: thousands that are kept make Python's garbage collector the largest cost.
        for sample, value, asked in zip(chunk.samples, chunk.values, chunk.requests, strict=True):
            label = None if asked else sample.label
            headers = write_headers(schema, label=label, group=sample.group)
            sample_id = sample.id.encode()
            if keys is not None:
                headers.append(keys.sign(sample_id, value, tuple(headers)))
            # Its timestamp is that of sending: retention goes by it, and would delete a backfilled batch at once.
            record = OutgoingRecord(topics[asked], sample_id, value, headers)
            try:
                writer.check_size(record)
            except RecordTooLarge as error:
                refused.append(error)
                continue
            writer.produce(record)
            counts[asked] += 1
        after = replace(
            batch,
            sent=batch.sent + len(chunk.samples) + len(chunk.unfit),
            samples=batch.samples + counts[False],
            requests=batch.requests + counts[True],
            refused=batch.refused + len(refused),
        )
        ledger.record(writer, key, asdict(after))
    for refusal in refused[:REFUSALS_TOLD]:
        log.warning("A sample is left out: %s", refusal)
    if len(refused) > REFUSALS_TOLD:
        log.warning("%d more samples are left out.", len(refused) - REFUSALS_TOLD)
    return after


def _fingerprint(pipeline: Pipeline, start: int, count: int) -> str:
    return fingerprint(usable(pipeline, chain.from_iterable(_read(pipeline, start, count))))


def _check_fingerprint(pipeline: Pipeline, batch_id: str, batch: Batch) -> None:
    found = _fingerprint(pipeline, batch.start, batch.count)
    if found != batch.fingerprint:
        raise SourceChanged(_changed(pipeline, batch_id, batch, f"its fingerprint is {found[:16]}"))


def _changed(pipeline: Pipeline, batch_id: str, batch: Batch, how: str) -> str:
    return (
        f"The source of {pipeline.name} changed under batch {batch_id}: samples {batch.start} to "
        f"{batch.start + batch.count} had fingerprint {batch.fingerprint[:16]} at the first attempt and now {how}; "
        "restore the source, or leave this batch as it is and trigger a new run."
    )
