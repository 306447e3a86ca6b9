"""Plan one batch of a source, and send it: each chunk in one transaction with the ledger's count of what is sent."""

import logging
from collections.abc import Generator
from dataclasses import dataclass, replace

from include.definition.pipeline import Pipeline
from include.errors import PermanentError
from include.exactly_once.attempt import Attempt, Step
from include.exactly_once.entries import Batch
from include.exactly_once.ledger import LedgerKey
from include.exactly_once.transaction import TransactionalWriter
from include.ingest.chunk import SourceChunk, encode_chunk, read_samples
from include.ingest.fit import BatchRefused, check_refused_share
from include.ingest.plan import ConcurrentPlan, new_batch, planned_source, source_changed
from include.ingest.topic import readable
from include.kafka.errors import Fenced, RecordTooLarge
from include.kafka.headers import write_headers
from include.kafka.records import OutgoingRecord
from include.kafka.signing import SigningKeys
from include.metrics import Counters
from include.prefetch import prefetch
from include.sources.base import Source

log = logging.getLogger(__name__)

STEP: Step = "ingest"
NEXT_POSITION = "next position"
LOGGED_REFUSALS = 5


@dataclass(frozen=True)
class IngestResult:
    """What a batch holds, how many samples were left out as too large or not of the format, and what is new.

    Attributes:
        sent_now: samples and requests that this attempt has sent.
        same_run: the batch was planned by this run.
    """

    batch: str
    start: int
    samples: int
    requests: int
    refused: int
    sent_now: int
    same_run: bool


def ingest_batch(
    attempt: Attempt, pipeline: Pipeline, batch_id: str, *, records: int, source: Source | None = None
) -> IngestResult:
    """Send what is not yet sent of a batch to the pipeline's topics.

    Args:
        batch_id: identifies the batch in every attempt: its data interval, or the run's id.
        records: how many samples a new batch takes at most; a planned batch keeps its range.
        source: the pipeline's source with its storage or cluster; by default as the pipeline's file has it.

    Raises:
        SourceExhausted, SourceChanged: see include.ingest.plan; nothing was sent.
        ConcurrentPlan: another batch was planned at the same time; nothing was sent.
        SourceRefused: the source can't be used, or has samples of no known label or of another format; nothing was
            sent.
        BatchRefused: a larger share of the samples than `ingest.max_refused_share`, or all, don't fit their topic and
            format. Mostly nothing is planned or sent then. Where only sending shows it, what was sent stays sent once,
            and an attempt with a higher limit sends the others.
        InvalidSigningKeys: records have to be signed and there is no key.
        Fenced, TransactionFailed: see `TransactionalWriter`.
    """
    attempt.require(pipeline.name, STEP)
    source = source or pipeline.source
    if source is None:
        raise PermanentError(
            f"Pipeline {pipeline.name} has no [source], since other applications fill its topics: nothing was sent; "
            "add the table to its file to send samples."
        )
    source = readable(source, pipeline, attempt.connection).open()
    keys = attempt.connection.signing_keys(signed=pipeline.signed)
    topics = (pipeline.samples_topic, pipeline.requests_topic)
    with attempt.writer(batch_id, topics=topics) as writer:
        # While this writer is open: how far an earlier attempt has come is decided only then.
        before, source = _plan(attempt, pipeline, source, batch_id, records)
        batch = before
        try:
            with prefetch(_chunks(pipeline, source, batch_id, batch)) as chunks:
                for chunk in chunks:
                    attempt.check_stop(f"{batch.sent} of {batch.count} samples of batch {batch_id}")
                    batch = _send(writer, pipeline, attempt.key(batch_id), batch_id, batch, chunk, keys)
                    log.info("Batch %s: %d of %d samples are in the topics.", batch_id, batch.in_topics, batch.count)
        finally:
            sent_now = batch.in_topics - before.in_topics
            attempt.metrics.count(Counters.INGESTED, sent_now, pipeline=pipeline.name)
            attempt.metrics.count(Counters.REFUSED, batch.refused - before.refused, pipeline=pipeline.name)
    if not batch.in_topics:
        raise BatchRefused(
            f"All {batch.refused} samples of batch {batch_id} of {pipeline.name} were left out, as larger than the "
            f"{pipeline.topics.max_record_bytes} bytes that its topics were created for or not of the format "
            f"{pipeline.format.kind}, and the next batch begins behind them; the log of the attempt that read them "
            f"names them: raise max.message.bytes of {' and '.join(topics)}, or correct the samples, and add them to "
            "the end of the source or give the pipeline a new name."
        )
    if not sent_now:
        log.info("Batch %s is in the topics already, planned by run %s; nothing was sent.", batch_id, batch.run)
    same_run = batch.run == attempt.run
    return IngestResult(batch_id, batch.start, batch.samples, batch.requests, batch.refused, sent_now, same_run)


def _plan(attempt: Attempt, pipeline: Pipeline, source: Source, batch_id: str, records: int) -> tuple[Batch, Source]:
    """The batch in the ledger, or a new one; and the source as its samples are read from it.

    All batches of a pipeline share one transactional id here, which makes this a compare-and-swap: an attempt that
    reads the next position and then commits was the only one to do so.
    """
    key, position_key = attempt.key(batch_id), attempt.key(NEXT_POSITION)
    try:
        with replace(attempt, step="ingest-plan", stopped=lambda: False).writer() as writer:
            entries = writer.read_ledger([key, position_key])
            if key not in entries:
                position = entries.get(position_key, {"position": 0})
                batch, source = new_batch(pipeline, source, batch_id, records, position, attempt.run)
                with writer.transaction():
                    writer.write_ledger(key, batch.model_dump())
                    writer.write_ledger(position_key, {"position": batch.start + batch.count, "prefix": batch.prefix})
                return batch, source
    except Fenced as error:
        # All batches share the id of planning, so this is not about a newer attempt at the same batch.
        raise ConcurrentPlan(
            f"Batch {batch_id} and another batch of {pipeline.name} were planned at the same time and the other one "
            "was committed first: the next attempt plans this one."
        ) from error
    batch = Batch.model_validate(entries[key])
    return batch, source if batch.complete else planned_source(pipeline, source, batch_id, batch)


def _chunks(pipeline: Pipeline, source: Source, batch_id: str, batch: Batch) -> Generator[SourceChunk]:
    """The chunks of a batch that are not yet sent."""
    sent = batch.sent
    for samples in read_samples(source, batch.start + sent, batch.count - sent):
        yield encode_chunk(pipeline, samples)
        sent += len(samples)
    if sent < batch.count:
        raise source_changed(pipeline, batch_id, batch, "the source ends before them")


def _send(
    writer: TransactionalWriter,
    pipeline: Pipeline,
    key: LedgerKey,
    batch_id: str,
    batch: Batch,
    chunk: SourceChunk,
    keys: SigningKeys | None,
) -> Batch:
    """Send one chunk and its ledger entry in one transaction; a record too large for its topic is left out."""
    samples = requests = 0
    refused: list[object] = [*chunk.refused]
    schema, samples_topic, requests_topic = pipeline.format.schema_name, pipeline.samples_topic, pipeline.requests_topic
    with writer.transaction():
        # Records are made one at a time: to keep thousands makes Python's garbage collector the largest cost.
        for sample, value, is_request in zip(chunk.samples, chunk.values, chunk.requests, strict=True):
            label = None if is_request else sample.label
            headers = write_headers(schema, label=label, group=sample.group, split=sample.split)
            sample_id = sample.id.encode()
            if keys is not None:
                headers.append(keys.sign(sample_id, value, tuple(headers)))
            # The timestamp is the time of sending: retention would delete a backfilled batch at once by any other.
            record = OutgoingRecord(requests_topic if is_request else samples_topic, sample_id, value, headers)
            try:
                writer.check_size(record)
            except RecordTooLarge as error:
                refused.append(error)
                continue
            writer.produce(record)
            if is_request:
                requests += 1
            else:
                samples += 1
        check_refused_share(
            pipeline,
            batch_id,
            refused=batch.refused + len(refused),
            count=batch.count,
            in_topics=batch.in_topics,
            examples=refused,
        )
        sent = {
            "sent": batch.sent + len(chunk.samples) + len(chunk.refused),
            "samples": batch.samples + samples,
            "requests": batch.requests + requests,
            "refused": batch.refused + len(refused),
        }
        after = batch.model_copy(update=sent)
        writer.write_ledger(key, after.model_dump())
    for refusal in refused[:LOGGED_REFUSALS]:
        log.warning("A sample is left out: %s", refusal)
    if len(refused) > LOGGED_REFUSALS:
        log.warning("%d more samples are left out.", len(refused) - LOGGED_REFUSALS)
    return after
