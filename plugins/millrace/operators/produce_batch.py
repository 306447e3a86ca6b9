"""Send one batch of a pipeline's source to its topics."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from include.errors import NothingToDo
from include.ingest.batch import ingest_batch
from include.ingest.topic import topic_reader
from include.kafka.login import log_in
from include.sources import FileSource
from include.sources.topic import TopicSource
from millrace.connection import kafka_connection
from millrace.lineage import Lineage, topic
from millrace.operators.base import PipelineOperator
from millrace.storage import filesystem_for

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection
    from include.sources.base import Source


PARTITION_KEY = "%Y-%m-%dT%H:%M:%S"


class ProduceBatchOperator(PipelineOperator):
    """Send a batch exactly once: labelled samples to one topic, a stable share of requests to another.

    The first attempt fixes the batch's range of the source. Every later one, by a retry, a clear or a backfill of the
    same interval, reads in the ledger what was sent and sends only the rest.

    Skips when the source has nothing new, and when another run has sent the batch.

    A sample that is too large for its topic, or not of the pipeline's format, is left out with a warning. The rest is
    sent. A batch with a larger share of such samples than `ingest.max_refused_share`, or with no other samples, fails.

    With `[ingest] partitioned`, the events of the outlets of a scheduled or backfilled run name their partition, the
    start of the data interval in UTC.

    Returns `batch`, `start`, `samples`, `requests`, `refused` and `sent_now`, all counted in samples.

    Args:
        records: samples of a new batch; the pipeline's `ingest.records` by default.
        batch: the batch's permanent name; by default the start of a scheduled run's data interval, else the run's id.
    """

    step = "ingest"
    template_fields: Sequence[str] = (*PipelineOperator.template_fields, "records", "batch")

    def __init__(self, *, records: int | str | None = None, batch: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.records = records
        self.batch = batch

    def run_step(self, context: Context, pipeline: Pipeline, connection: KafkaConnection) -> dict[str, Any]:
        batch = self.batch or _batch_of(context)
        result = ingest_batch(
            self.attempt(context, pipeline, connection, "ingest"),
            pipeline,
            batch,
            records=int(self.records or pipeline.ingest.records),
            source=self._connected_source(pipeline),
        )
        if not result.sent_now and not result.same_run:
            raise NothingToDo(f"Batch {batch} is in the topics already, sent by another run: nothing was sent.")
        partition = _partition_of(context) if pipeline.ingest.partitioned else None
        counts = {pipeline.samples_topic: result.samples, pipeline.requests_topic: result.requests}
        for name, count in counts.items():
            if count:
                self.attach_to_event(context, name, {"batch": batch, "samples": count}, partition=partition)
            else:
                self.drop_outlet(name)
        self.lineage = Lineage(
            outputs=[topic(connection, name, rows=count) for name, count in counts.items() if count],
            identifies={"batch": batch},
        )
        return {
            "batch": batch,
            "start": result.start,
            "samples": result.samples,
            "requests": result.requests,
            "refused": result.refused,
            "sent_now": result.sent_now,
        }

    def _connected_source(self, pipeline: Pipeline) -> Source | None:
        """The pipeline's source, on the storage or the cluster of the Airflow connection that it names."""
        source = pipeline.source
        if isinstance(source, FileSource) and source.connection is not None:
            return source.on(filesystem_for(source.path, source.connection))
        if isinstance(source, TopicSource) and source.connection is not None:
            cluster = kafka_connection(source.connection, timeout_s=self.request_timeout)
            log_in(cluster)
            return source.through(topic_reader(pipeline, source, cluster))
        return source


def _batch_of(context: Context) -> str:
    began = _interval_start(context)
    return str(context["dag_run"].run_id) if began is None else began.isoformat()


def _partition_of(context: Context) -> str | None:
    """The key of the run's partition, as Airflow's own partition mappers read it; a manual run has none."""
    began = _interval_start(context)
    return None if began is None else began.astimezone(UTC).strftime(PARTITION_KEY)


def _interval_start(context: Context) -> datetime | None:
    """A manual run is a batch of its own, though Airflow may give it the last interval."""
    run = context["dag_run"]
    return None if run.run_type == "manual" else run.data_interval_start
