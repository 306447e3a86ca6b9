"""Send one batch of a source: each chunk of samples in one transaction with the ledger's count of what is sent."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from include.errors import PermanentError
from include.ingest.chunk import SourceChunk, encode_chunk, read_samples
from include.ingest.fit import BatchRefused, check_refused_share
from include.ingest.plan import Batch, plan_batch, source_changed
from include.ingest.prefetch import prefetch
from include.ingest.topic import readable
from include.kafka.errors import RecordTooLarge
from include.kafka.headers import write_headers
from include.kafka.records import OutgoingRecord
from include.metrics import Counters

if TYPE_CHECKING:
    from include.definition.pipeline import Pipeline
    from include.exactly_once.attempt import Attempt, Step
    from include.exactly_once.ledger import LedgerKey
    from include.exactly_once.transaction import TransactionalWriter
    from include.kafka.signing import SigningKeys
    from include.sources.base import Source

log = logging.getLogger(__name__)

STEP: Step = "ingest"
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
        batch_id: names the batch for ever: its data interval, or the run's id.
        records: how many samples a new batch takes at most; a planned batch keeps its range.
        source: the pipeline's source with its storage or cluster; by default as the pipeline's file has it.

    Raises:
        SourceExhausted, ConcurrentPlan, SourceChanged: see `plan_batch`; nothing was sent.
        SourceRefused: the source can't be used, or has samples of no known label or of another format; nothing was
            sent.
        BatchRefused: a larger share of the samples than `ingest.max_refused_share`, or all, don't fit their topic and
            format. Mostly nothing is planned or sent then. Where only sending shows it, what was sent stays sent once,
            and an attempt with a higher limit sends the others.
        InvalidSigningKeys: records have to be signed and there is no key.
        Fenced, TransactionFailed: see `TransactionalWriter`.
    """
    attempt.require(pipeline.name, STEP)
    source = readable(_source(pipeline, source), pipeline, attempt.connection).open()
    keys = attempt.connection.signing_keys(signed=pipeline.signed)
    key = attempt.key(batch_id)
    topics = (pipeline.samples_topic, pipeline.requests_topic)
    with attempt.writer(batch_id, topics=topics) as writer:
        batch, source = plan_batch(attempt, pipeline, source, batch_id, records)
        before = batch
        for chunk in prefetch(_chunks(pipeline, source, batch_id, batch)):
            attempt.check_stop(f"{batch.sent} of {batch.count} samples of batch {batch_id}")
            batch = _send(writer, pipeline, key, batch_id, batch, chunk, keys)
            log.info("Batch %s: %d of %d samples are in the topics.", batch_id, batch.in_topics, batch.count)
    sent_now = batch.in_topics - before.in_topics
    attempt.metrics.count(Counters.INGESTED, sent_now, pipeline=pipeline.name)
    attempt.metrics.count(Counters.REFUSED, batch.refused - before.refused, pipeline=pipeline.name)
    if not batch.in_topics:
        raise BatchRefused(
            f"All {batch.refused} samples of batch {batch_id} of {pipeline.name} were left out, as larger than the "
            f"{pipeline.topics.max_record_bytes} bytes that its topics were created for or not of the format "
            f"{pipeline.format.kind}; the log of the attempt that read them names them: raise max.message.bytes of "
            f"{' and '.join(topics)}, or correct the samples, and send them in a new run."
        )
    if not sent_now:
        log.info("Batch %s is in the topics already, planned by run %s; nothing was sent.", batch_id, batch.run)
    return IngestResult(
        batch_id,
        batch.start,
        batch.samples,
        batch.requests,
        batch.refused,
        sent_now,
        same_run=batch.run == attempt.run,
    )


def _source(pipeline: Pipeline, source: Source | None) -> Source:
    source = source or pipeline.source
    if source is None:
        raise PermanentError(
            f"Pipeline {pipeline.name} has no [source], since other applications fill its topics: nothing was sent; "
            "add the table to its file to send samples."
        )
    return source


def _chunks(pipeline: Pipeline, source: Source, batch_id: str, batch: Batch) -> Iterator[SourceChunk]:
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
    refused: list[object] = [*chunk.unfit]
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
        after = replace(
            batch,
            sent=batch.sent + len(chunk.samples) + len(chunk.unfit),
            samples=batch.samples + samples,
            requests=batch.requests + requests,
            refused=batch.refused + len(refused),
        )
        writer.write_ledger(key, asdict(after))
    for refusal in refused[:LOGGED_REFUSALS]:
        log.warning("A sample is left out: %s", refusal)
    if len(refused) > LOGGED_REFUSALS:
        log.warning("%d more samples are left out.", len(refused) - LOGGED_REFUSALS)
    return after
