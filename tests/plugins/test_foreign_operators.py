"""The operators over external topics, on the real broker: what must exist, and what counts as new."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from include.definition.files import load_pipeline
from include.definition.pipeline import Pipeline
from include.exactly_once.attempt import Attempt
from include.kafka.connection import KafkaConnection
from include.kafka.ranges import OffsetRange
from include.kafka.topics import TopicSpec, describe_topics, ensure_topics, topic_setting
from millrace.operators import EnsureTopicsOperator, FreezeRangesOperator
from tests.support.external_topics import ARTICLE
from tests.support.operators import DagRun, context_of
from tests.support.producers import Record, produce


@pytest.fixture
def theirs(kafka: KafkaConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """The article's pipeline under names of its own; its topics are not there yet."""
    monkeypatch.setenv("MILLRACE_PIPELINES", str(tmp_path))
    name = f"theirs_{uuid4().hex[:8]}"
    text = ARTICLE.replace("image_topic", f"{name}_images").replace("image_labels", f"{name}_labels")
    (tmp_path / f"{name}.toml").write_text(text)
    return load_pipeline(name)


@pytest.fixture
def filled(kafka: KafkaConnection, theirs: Pipeline) -> Pipeline:
    """Its topics are there, with ten samples and no labels."""
    ensure_topics(kafka, [TopicSpec(name, 1) for name in theirs.external_topics])
    ensure(theirs)
    add_samples(kafka, theirs, 10)
    return theirs


def ensure(pipeline: Pipeline) -> dict[str, Any]:
    return EnsureTopicsOperator(task_id="t", pipeline=pipeline.name).execute(context_of(DagRun("d", "r")))


def freeze(pipeline: Pipeline, **arguments: Any) -> dict[str, Any]:
    operator = FreezeRangesOperator(task_id="t", pipeline=pipeline.name, step="train", **arguments)
    return operator.execute(context_of(DagRun(f"{pipeline.name}.train", "r")))


def add_samples(kafka: KafkaConnection, pipeline: Pipeline, number: int) -> None:
    produce(kafka, pipeline.samples_topic, [Record(b"not decoded", None)] * number)


def add_labels(kafka: KafkaConnection, pipeline: Pipeline, *offsets: int, text: bytes | None = b"dark") -> None:
    labels = [Record(text, f"{pipeline.samples_topic}/0/{offset}".encode()) for offset in offsets]
    produce(kafka, str(pipeline.labels_topic), labels)


def trained(kafka: KafkaConnection, pipeline: Pipeline, frozen: dict[str, Any]) -> None:
    Attempt(kafka, pipeline.name, "train", "run").record_progress([OffsetRange(**item) for item in frozen["ranges"]])


def test_a_missing_external_topic_fails_the_task_before_anything_is_created(
    kafka: KafkaConnection, theirs: Pipeline
) -> None:
    with pytest.raises(AirflowFailException, match=f"{theirs.samples_topic}, {theirs.labels_topic} does not exist"):
        ensure(theirs)

    assert describe_topics(kafka, [theirs.predictions_topic, *theirs.external_topics]) == {}


def test_external_topics_are_not_changed(kafka: KafkaConnection, theirs: Pipeline) -> None:
    config = {"max.message.bytes": "5000000"}
    ensure_topics(kafka, [TopicSpec(name, 2, config=config) for name in theirs.external_topics])

    made = ensure(theirs)["topics"]

    assert theirs.predictions_topic in made
    assert not {*theirs.external_topics} & {*made}
    assert int(topic_setting(kafka, theirs.dead_letters_topic, "max.message.bytes")) > 5_000_000


def test_without_labels_there_is_nothing_to_learn_from(filled: Pipeline) -> None:
    with pytest.raises(AirflowSkipException, match="has 0 new samples"):
        freeze(filled, min_new_samples=1)


def test_what_is_new_is_counted_in_labelled_samples(kafka: KafkaConnection, filled: Pipeline) -> None:
    add_labels(kafka, filled, 1, 2, 3, 99)

    frozen = freeze(filled, min_new_samples=3)

    assert frozen["new_samples"] == 3
    assert {item["topic"] for item in frozen["ranges"]} == {filled.samples_topic, filled.labels_topic}
    with pytest.raises(AirflowSkipException, match="has 3 new samples"):
        freeze(filled, min_new_samples=4)
    assert freeze(filled, min_new_samples=1)["new_samples"] == "at least 3"


def test_a_sample_is_new_again_by_its_label(kafka: KafkaConnection, filled: Pipeline) -> None:
    add_labels(kafka, filled, 1, 2)
    trained(kafka, filled, freeze(filled, min_new_samples=1))
    with pytest.raises(AirflowSkipException, match="has 0 new samples"):
        freeze(filled, min_new_samples=1)

    add_labels(kafka, filled, 2, 7)
    add_labels(kafka, filled, 1, text=None)
    add_samples(kafka, filled, 2)
    add_labels(kafka, filled, 11)

    assert freeze(filled, min_new_samples=3)["new_samples"] == 3


def test_a_compacted_topic_of_labels_is_refused(kafka: KafkaConnection, theirs: Pipeline) -> None:
    images, labels = theirs.external_topics
    ensure_topics(kafka, [TopicSpec(images), TopicSpec(labels, config={"cleanup.policy": "compact"})])
    ensure(theirs)

    with pytest.raises(AirflowFailException, match=f"{labels} has cleanup.policy=compact"):
        freeze(theirs)
