"""Cross-table checks: tables that are valid alone and contradict each other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING

from include.exactly_once.ledger import LEDGER_TOPIC
from include.reading.layout import FieldLabels, KeyLabels, RecordLayout
from include.sources.folder import FolderSource

if TYPE_CHECKING:
    from include.definition.pipeline import Pipeline


def cross_table_faults(pipeline: Pipeline, invalid: Collection[str] = ()) -> Iterator[str]:
    """The faults, each as `key = value: what to do`.

    Args:
        invalid: the keys and tables that `pipeline` lacks because they are invalid; a check that needs one of them is
            left out.
    """
    for tables, check in CHECKS:
        if tables.isdisjoint(invalid):
            yield from check(pipeline)


def _source_faults(pipeline: Pipeline) -> Iterator[str]:
    topics = pipeline.topics
    if pipeline.source is None:
        if topics.samples is None:
            yield "source: Field required; or name an external topic with samples under [topics]"
    elif topics.samples is not None:
        yield f"topics.samples = {topics.samples!r}: nothing is sent to an external topic; remove the key, or [source]"


def _ingest_faults(pipeline: Pipeline) -> Iterator[str]:
    requests = pipeline.topics.requests
    if pipeline.source is None:
        if "ingest" in pipeline.model_fields_set:
            yield "ingest: there is no [source] to take batches from; remove the table"
    elif requests is not None and pipeline.ingest.requests_share > 0:
        yield (
            f"ingest.requests_share = {pipeline.ingest.requests_share:g}: nothing is sent to an external topic, which "
            f"topics.requests = {requests!r} is; set 0"
        )


def _envelope_faults(pipeline: Pipeline) -> Iterator[str]:
    topics = pipeline.topics
    if topics.samples is None and topics.requests is None and pipeline.envelope != RecordLayout().envelope:
        yield "envelope: it says how external topics are read, and [topics] names none; remove the table"


def _label_faults(pipeline: Pipeline) -> Iterator[str]:
    if pipeline.topics.samples is None and pipeline.labels != RecordLayout().labels:
        yield "labels: it says where an external topic has its labels, and topics.samples names none; remove the table"


def _registry_faults(pipeline: Pipeline) -> Iterator[str]:
    if pipeline.envelope.needs_registry and pipeline.registry is None:
        yield f"registry.connection: Field required, for the envelope's kind is {pipeline.envelope.kind!r}"
    if pipeline.registry is not None and not pipeline.envelope.needs_registry:
        yield f"registry: an envelope of kind {pipeline.envelope.kind!r} needs none; remove the table"


def _label_field_faults(pipeline: Pipeline) -> Iterator[str]:
    if isinstance(pipeline.labels, FieldLabels) and not pipeline.envelope.has_fields:
        yield f"labels.name = {pipeline.labels.name!r}: an envelope of kind {pipeline.envelope.kind!r} has no fields"


def _signing_faults(pipeline: Pipeline) -> Iterator[str]:
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
            yield f"{key} = {topic!r}: that is no external topic; name the one that other programs fill"
    if late in (pipeline.samples_topic, pipeline.requests_topic):
        yield f"labels.topic = {late!r}: the samples or requests are in that topic; name one of labels"


def _training_schedule_faults(pipeline: Pipeline) -> Iterator[str]:
    return _schedule_faults("training.schedule", pipeline.training.schedule, event_driven=pipeline.source is not None)


def _prediction_schedule_faults(pipeline: Pipeline) -> Iterator[str]:
    event_driven = pipeline.source is not None and pipeline.topics.requests is None
    return _schedule_faults("prediction.schedule", pipeline.prediction.schedule, event_driven=event_driven)


def _schedule_faults(key: str, schedule: str | None, *, event_driven: bool) -> Iterator[str]:
    if schedule is None and not event_driven:
        yield (
            f"{key}: Field required, such as '0 * * * *' for every hour: no event is raised for records of an external "
            "topic"
        )
    if schedule is not None and event_driven:
        yield f"{key} = {schedule!r}: it runs when the ingest has sent something; remove the key"


def _augmentation_faults(pipeline: Pipeline) -> Iterator[str]:
    for index, augmentation in enumerate(pipeline.training.augment):
        try:
            augmentation.check(pipeline.format.input_shape)
        except ValueError as error:
            yield f"training.augment.{index}: {error}"


def _incremental_faults(pipeline: Pipeline) -> Iterator[str]:
    if pipeline.training.incremental and pipeline.labels_topic is not None:
        yield (
            "training.incremental = True: an older sample whose label arrives late would never be learnt; remove the "
            "key, or take labels that come with the samples"
        )


def _content_faults(pipeline: Pipeline) -> Iterator[str]:
    if getattr(pipeline.envelope, "content_is", None) == "numbers" and pipeline.format.kind != "tensor.text":
        yield f"format.kind = {pipeline.format.kind!r}: envelope.content_is = 'numbers' is read by 'tensor.text'"


def _row_key_faults(pipeline: Pipeline) -> Iterator[str]:
    if pipeline.envelope.row_name is not None and isinstance(pipeline.labels, KeyLabels):
        yield "labels.kind = 'key': with envelope.newest_of the key names a row; name another place of the label"


def _versions_faults(pipeline: Pipeline) -> Iterator[str]:
    if pipeline.training.incremental and pipeline.envelope.row_name is not None:
        yield (
            "training.incremental = True: a share of older records may lack the newest version of a row, so that an "
            "outdated one would be learnt; remove the key, or envelope.newest_of"
        )


def _split_faults(pipeline: Pipeline) -> Iterator[str]:
    source = pipeline.source
    gives = source is None or (isinstance(source, FolderSource) and source.split is not None)
    if pipeline.training.split == "given" and source is not None and not gives:
        yield (
            f'training.split = "given": the source of kind {source.kind!r} gives none; set split = "above" or "below" '
            "of a folder, or remove the key"
        )


CHECKS: tuple[tuple[frozenset[str], Callable[[Pipeline], Iterator[str]]], ...] = (
    (frozenset({"source", "topics"}), _source_faults),
    (frozenset({"source", "topics", "ingest"}), _ingest_faults),
    (frozenset({"topics", "envelope"}), _envelope_faults),
    (frozenset({"topics", "labels"}), _label_faults),
    (frozenset({"envelope", "registry"}), _registry_faults),
    (frozenset({"envelope", "labels"}), _label_field_faults),
    (frozenset({"labels", "signing"}), _signing_faults),
    (frozenset({"name", "topics", "labels"}), _name_faults),
    (frozenset({"source", "training"}), _training_schedule_faults),
    (frozenset({"source", "topics", "prediction"}), _prediction_schedule_faults),
    (frozenset({"format", "training"}), _augmentation_faults),
    (frozenset({"labels", "training"}), _incremental_faults),
    (frozenset({"source", "training"}), _split_faults),
    (frozenset({"envelope", "training"}), _versions_faults),
    (frozenset({"envelope", "format"}), _content_faults),
    (frozenset({"envelope", "labels"}), _row_key_faults),
)
