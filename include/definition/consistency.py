"""What a pipeline's file says of topics that nobody could do: each table is right, and they don't fit each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from include.exactly_once.ledger import LEDGER_TOPIC
from include.reading.layout import FieldLabels, RecordLayout

if TYPE_CHECKING:
    from include.definition.pipeline import Pipeline


def topic_faults(pipeline: Pipeline) -> Iterator[str]:
    """The faults, each as `key = value: what to do`."""
    yield from _source_faults(pipeline)
    yield from _reading_faults(pipeline)
    yield from _name_faults(pipeline)
    yield from _schedule_faults(pipeline)


def _source_faults(pipeline: Pipeline) -> Iterator[str]:
    topics = pipeline.topics
    if pipeline.source is None:
        if topics.samples is None:
            yield "source: Field required; or name an existing topic that others fill with samples under [topics]"
        if "ingest" in pipeline.model_fields_set:
            yield "ingest: there is no [source] to take batches from; remove the table"
        return
    if topics.samples is not None:
        yield f"topics.samples = {topics.samples!r}: nothing is sent to a topic of others; remove the key, or [source]"
    if topics.requests is not None and pipeline.ingest.requests_share > 0:
        yield (
            f"ingest.requests_share = {pipeline.ingest.requests_share:g}: nothing is sent to a topic of others, which "
            f"topics.requests = {topics.requests!r} is; set 0"
        )


def _reading_faults(pipeline: Pipeline) -> Iterator[str]:
    topics, labels, default = pipeline.topics, pipeline.labels, RecordLayout()
    if topics.samples is None and topics.requests is None and pipeline.envelope != default.envelope:
        yield "envelope: it says how topics of others are read, and [topics] names none; remove the table"
    if topics.samples is None and labels != default.labels:
        yield "labels: they are those of a topic of others, and topics.samples names none; remove the table"
    if pipeline.envelope.needs_registry and pipeline.registry is None:
        yield f"registry.connection: Field required, for the envelope's kind is {pipeline.envelope.kind!r}"
    if pipeline.registry is not None and not pipeline.envelope.needs_registry:
        yield f"registry: an envelope of kind {pipeline.envelope.kind!r} is read without one; remove the table"
    if isinstance(labels, FieldLabels) and not pipeline.envelope.has_fields:
        yield f"labels.name = {labels.name!r}: an envelope of kind {pipeline.envelope.kind!r} has no fields"
    if pipeline.labels_topic is not None and pipeline.signed:
        yield f"labels.topic = {pipeline.labels_topic!r}: late labels are not signed; remove [signing]"


def _name_faults(pipeline: Pipeline) -> Iterator[str]:
    topics, late = pipeline.topics, pipeline.labels_topic
    taken = {pipeline.predictions_topic, pipeline.dead_letters_topic, LEDGER_TOPIC, ".", ".."}
    for key, topic in {
        "topics.samples": topics.samples,
        "topics.requests": topics.requests,
        "labels.topic": late,
    }.items():
        if topic in taken:
            yield f"{key} = {topic!r}: that is no topic that others fill; name theirs"
    if late in (pipeline.samples_topic, pipeline.requests_topic):
        yield f"labels.topic = {late!r}: the samples or requests have that topic; name one of labels"


def _schedule_faults(pipeline: Pipeline) -> Iterator[str]:
    ingested = pipeline.source is not None
    for key, schedule, told in (
        ("training.schedule", pipeline.training.schedule, ingested),
        ("prediction.schedule", pipeline.prediction.schedule, ingested and pipeline.topics.requests is None),
    ):
        if schedule is None and not told:
            yield f"{key}: Field required, such as '0 * * * *' for every hour: no event tells what others have sent"
        if schedule is not None and told:
            yield f"{key} = {schedule!r}: it runs when the ingest has sent something; remove the key"
