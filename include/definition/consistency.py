"""Cross-table checks: tables that are valid alone and contradict each other."""

from collections.abc import Callable, Collection, Iterator

from include.codecs.row import RowCodec
from include.definition.pipeline import Pipeline
from include.exactly_once.ledger import ledger_name
from include.models.imported import ImportedModel
from include.models.rows import RowNet
from include.reading.layout import FieldLabels, KeyLabels, RecordLayout
from include.sources.folder import FolderSource


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
    if pipeline.ingest.requests_by == "group" and getattr(pipeline.source, "group", "its own") is None:
        yield "ingest.requests_by = 'group': the source has no groups; name them by group of [source], or set \"id\""


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


def _label_place_faults(pipeline: Pipeline) -> Iterator[str]:
    if isinstance(pipeline.labels, FieldLabels) and not pipeline.envelope.has_fields:
        yield f"labels.name = {pipeline.labels.name!r}: an envelope of kind {pipeline.envelope.kind!r} has no fields"
    if isinstance(pipeline.labels, KeyLabels) and pipeline.envelope.row_name is not None:
        yield "labels.kind = 'key': with envelope.newest_of the key names a row; name another place of the label"


def _signing_faults(pipeline: Pipeline) -> Iterator[str]:
    if pipeline.labels_topic is not None and pipeline.signed:
        yield f"labels.topic = {pipeline.labels_topic!r}: late labels are not signed; remove [signing]"


def _name_faults(pipeline: Pipeline) -> Iterator[str]:
    topics, late = pipeline.topics, pipeline.labels_topic
    watched = None if pipeline.watch is None or pipeline.watch.labels is None else pipeline.watch.labels.topic
    own = (pipeline.predictions_topic, pipeline.repredictions_topic, pipeline.dead_letters_topic)
    taken = {*own, ledger_name(pipeline.environment), ".", ".."}
    for key, topic in {
        "topics.samples": topics.samples,
        "topics.requests": topics.requests,
        "labels.topic": late,
        "watch.labels.topic": watched,
    }.items():
        if topic in taken:
            yield f"{key} = {topic!r}: that is no external topic; name the one that other programs fill"
    for key, topic in {"labels.topic": late, "watch.labels.topic": watched}.items():
        if topic in (pipeline.samples_topic, pipeline.requests_topic):
            yield f"{key} = {topic!r}: the samples or requests are in that topic; name one of labels"


def _prediction_backlog_faults(pipeline: Pipeline) -> Iterator[str]:
    prediction = pipeline.prediction
    if prediction.schedule is not None and (prediction.min_records > 1 or prediction.max_wait_s is not None):
        yield (
            f"prediction.schedule = {prediction.schedule!r}: prediction.min_records and prediction.max_wait_s say when "
            "a run begins without a schedule; remove it or them"
        )
    elif prediction.max_wait_s is not None and prediction.min_records == 1:
        yield (
            f"prediction.max_wait_s = {prediction.max_wait_s:g}: a run begins at the first request; remove the key or "
            "raise prediction.min_records"
        )


def _cloud_event_faults(pipeline: Pipeline) -> Iterator[str]:
    prediction = pipeline.prediction
    own = [name for name in prediction.carry if name.startswith("ce_") or name == "content-type"]
    if prediction.cloud_events and own:
        yield f"prediction.carry: with cloud_events a prediction has a {own[0]!r} of its own; leave it out"


def _top_k_faults(pipeline: Pipeline) -> Iterator[str]:
    top_k, task = pipeline.prediction.top_k, pipeline.training.task
    if top_k and task != "classification":
        yield f"prediction.top_k = {top_k}: only a classification has best labels, and the task is {task!r}; remove it"


def _alert_faults(pipeline: Pipeline) -> Iterator[str]:
    if pipeline.alerts.waiting_s is not None and pipeline.prediction.schedule is not None:
        yield (
            f"alerts.waiting_s = {pipeline.alerts.waiting_s:g}: with prediction.schedule nothing watches the requests; "
            "remove one of them"
        )


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
    kind, content_is = pipeline.format.kind, getattr(pipeline.envelope, "content_is", None)
    needed = {"numbers": "tensor.text", "row": "row"}.get(content_is or "")
    if needed is not None and kind != needed:
        yield f"format.kind = {kind!r}: envelope.content_is = {content_is!r} is read by {needed!r}"
    if kind == "row" and content_is not in (None, "row"):
        yield f'envelope.content_is = {content_is!r}: set "row", since [format] is of rows'
    if getattr(pipeline.envelope, "columns", ()):
        yield "envelope.columns: they are those of [format]; remove the key"


def _row_faults(pipeline: Pipeline) -> Iterator[str]:
    is_row, model = isinstance(pipeline.format, RowCodec), pipeline.model
    if is_row and not isinstance(model, RowNet | ImportedModel):
        yield f"model.kind = {model.kind!r}: rows are learnt by 'rows', or by a network of your own"
    if not is_row and isinstance(model, RowNet):
        yield f"format.kind = {pipeline.format.kind!r}: a model of kind 'rows' reads 'row'"
    if isinstance(model, RowNet) and model.inputs is not None:
        yield "model.inputs: they are those of [format]; remove the key"


def _versions_faults(pipeline: Pipeline) -> Iterator[str]:
    if pipeline.training.incremental and pipeline.envelope.row_name is not None:
        yield (
            "training.incremental = True: a share of older records may lack the newest version of a row, so that an "
            "outdated one would be learnt; remove the key, or envelope.newest_of"
        )


def _promotion_faults(pipeline: Pipeline) -> Iterator[str]:
    promotion, training = pipeline.promotion, pipeline.training
    if training.task != "classification":
        for key in ("class_floor", "class_floors"):
            if value := getattr(promotion, key):
                yield f"promotion.{key} = {value!r}: only a classification has classes; remove the key"
    elif unknown := sorted({*promotion.class_floors} - {*training.labels}):
        yield f"promotion.class_floors.{unknown[0]}: no class of training.labels has this name; correct it"
    if promotion.approval == "automatic":
        for key in sorted({"approvers", "approval_s"} & promotion.model_fields_set):
            yield f'promotion.{key} = {getattr(promotion, key)!r}: set approval = "person", or remove the key'


def _watch_faults(pipeline: Pipeline) -> Iterator[str]:
    watch = pipeline.watch
    if watch is None:
        return
    if watch.labels is not None and pipeline.labels_topic is not None:
        yield f"watch.labels.topic = {watch.labels.topic!r}: labels.topic names where the labels are; remove this table"
    if pipeline.training.task == "regression" and watch.max_calibration_error is not None:
        yield (
            f"watch.max_calibration_error = {watch.max_calibration_error:g}: the answers of a regression have no "
            "scores; remove the key"
        )
    elif pipeline.late_labels is None:
        for key in ("min_score", "max_calibration_error"):
            if (value := getattr(watch, key)) is not None:
                yield f"watch.{key} = {value:g}: nothing labels its answers; name a topic by watch.labels.topic"


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
    (frozenset({"envelope", "labels"}), _label_place_faults),
    (frozenset({"labels", "signing"}), _signing_faults),
    (frozenset({"name", "topics", "labels", "watch"}), _name_faults),
    (frozenset({"prediction"}), _prediction_backlog_faults),
    (frozenset({"prediction", "alerts"}), _alert_faults),
    (frozenset({"prediction"}), _cloud_event_faults),
    (frozenset({"prediction", "training"}), _top_k_faults),
    (frozenset({"format", "training"}), _augmentation_faults),
    (frozenset({"labels", "training"}), _incremental_faults),
    (frozenset({"source", "training"}), _split_faults),
    (frozenset({"promotion", "training"}), _promotion_faults),
    (frozenset({"watch", "labels", "training"}), _watch_faults),
    (frozenset({"envelope", "training"}), _versions_faults),
    (frozenset({"envelope", "format"}), _content_faults),
    (frozenset({"format", "model"}), _row_faults),
)
