"""The rights that each step of a pipeline needs on the Kafka cluster, and no others.

`tests/secured/test_rights.py` runs every step with them, and without each of them.
"""

from collections.abc import Iterable

from include.definition.pipeline import Pipeline
from include.definition.tables import WorkStep
from include.exactly_once.attempt import Step, consumer_group, transactional_id
from include.exactly_once.ledger import ledger_name
from include.exactly_once.snapshot import reader_group
from include.kafka.rights import Operation, Resource, Right
from include.sources.topic import TopicSource


def step_rights(pipeline: Pipeline, step: WorkStep) -> list[Right]:
    """The rights of a step; those on one resource are adjacent."""
    find = {
        "topics": _topics,
        "ingest": _ingest,
        "train": _train,
        "predict": _predict,
        "repredict": _repredict,
        "replay": _replay,
        "export": _export,
        "watch": _watch,
    }
    return sorted(
        set(find[step](pipeline)), key=lambda right: (right.resource, right.name, right.prefixed, right.operation)
    )


def _on(resource: Resource, name: str, *operations: Operation, prefixed: bool = False) -> list[Right]:
    return [Right(resource, name, operation, prefixed) for operation in operations]


def _group(pipeline: Pipeline, *parts: str, operation: Operation = "Describe", prefixed: bool = False) -> list[Right]:
    return _on("Group", consumer_group(pipeline.environment, pipeline.name, *parts), operation, prefixed=prefixed)


def _transactions(pipeline: Pipeline, step: Step, *scope: str, prefixed: bool = False) -> list[Right]:
    name = transactional_id(pipeline.environment, pipeline.name, step, *scope)
    return _on("TransactionalId", name, "Write", prefixed=prefixed)


def _ledger(pipeline: Pipeline) -> list[Right]:
    environment = pipeline.environment
    return [
        *_on("Topic", ledger_name(environment), "Read", "Write"),
        *_on("Group", reader_group(environment), "Describe"),
    ]


def _topics(pipeline: Pipeline) -> Iterable[Right]:
    for spec in pipeline.topic_specs():
        yield from _on("Topic", spec.name, "Create", "Describe")
    for topic in pipeline.external_topics:
        yield from _on("Topic", topic, "Describe")
    if pipeline.topics.requests is not None:
        yield from _on("Topic", pipeline.topics.requests, "DescribeConfigs")


def _ingest(pipeline: Pipeline) -> Iterable[Right]:
    for topic in (pipeline.samples_topic, pipeline.requests_topic):
        yield from _on("Topic", topic, "Describe" if topic in pipeline.external_topics else "Write", "DescribeConfigs")
    yield from _ledger(pipeline)
    # One for each batch, and one for the plan of batches.
    yield from _transactions(pipeline, "ingest", prefixed=True)
    if isinstance(pipeline.source, TopicSource) and pipeline.source.connection is None:
        yield from _on("Topic", pipeline.source.topic, "Read")
        yield from _group(pipeline, "source")


def _train(pipeline: Pipeline) -> Iterable[Right]:
    for topic in filter(None, (pipeline.samples_topic, pipeline.labels_topic)):
        yield from _on("Topic", topic, "Read", "DescribeConfigs")
    yield from _ledger(pipeline)
    yield from _group(pipeline, "train", prefixed=True)
    yield from _group(pipeline, "feed", prefixed=True)
    yield from _transactions(pipeline, "train")


def _predict(pipeline: Pipeline) -> Iterable[Right]:
    yield from _on("Topic", pipeline.requests_topic, "Read")
    for topic in (pipeline.predictions_topic, pipeline.dead_letters_topic):
        # It reads them where the ledger has no entry, to tell a new pipeline from a lost ledger.
        yield from _on("Topic", topic, "Read", "Write", "DescribeConfigs")
    yield from _ledger(pipeline)
    # Read, because the offsets of this group are committed.
    yield from _group(pipeline, "predict", operation="Read")
    yield from _group(pipeline, "predict", prefixed=True)
    yield from _group(pipeline, "dead-letters.count")
    yield from _transactions(pipeline, "predict", pipeline.requests_topic, prefixed=True)


def _repredict(pipeline: Pipeline) -> Iterable[Right]:
    yield from _on("Topic", pipeline.requests_topic, "Read")
    # It finds there what a version has answered.
    yield from _on("Topic", pipeline.predictions_topic, "Read")
    yield from _on("Topic", pipeline.repredictions_topic, "Write", "DescribeConfigs")
    yield from _ledger(pipeline)
    yield from _group(pipeline, "repredict", prefixed=True)
    yield from _transactions(pipeline, "repredict", pipeline.requests_topic, prefixed=True)


def _replay(pipeline: Pipeline) -> Iterable[Right]:
    yield from _on("Topic", pipeline.dead_letters_topic, "Read")
    yield from _on("Topic", pipeline.requests_topic, "Write", "DescribeConfigs")
    yield from _ledger(pipeline)
    yield from _group(pipeline, "replay")
    yield from _transactions(pipeline, "replay", pipeline.dead_letters_topic)


def _export(pipeline: Pipeline) -> Iterable[Right]:
    yield from _on("Topic", pipeline.predictions_topic, "Read")
    yield from _ledger(pipeline)
    yield from _group(pipeline, "export")
    yield from _transactions(pipeline, "export", pipeline.predictions_topic)


def _watch(pipeline: Pipeline) -> Iterable[Right]:
    for topic in (pipeline.predictions_topic, pipeline.requests_topic):
        yield from _on("Topic", topic, "Read")
    if pipeline.late_labels is not None:
        yield from _on("Topic", pipeline.late_labels.topic, "Read")
    yield from _ledger(pipeline)
    yield from _group(pipeline, "watch")
    yield from _transactions(pipeline, "watch")
