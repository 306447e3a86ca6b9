"""The feed as a `tf.data.Dataset` of real TensorFlow, which has an environment of its own: `make test-tensorflow`."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from include.codecs.raw import RawCodec
from include.feed.feed import Feed
from include.feed.manifest import Manifest
from include.feed.split import Split
from include.kafka.ranges import freeze_ranges
from tests.support.producers import Record, produce

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection

if importlib.util.find_spec("tensorflow") is None:
    pytest.skip("TensorFlow is not installed here: `make test-tensorflow` does it", allow_module_level=True)

CODEC = RawCodec(shape=(2,), dtype="float32")
SAMPLES = 500


def record(number: int, label: str) -> Record:
    value = CODEC.encode(np.array([number, -number], np.float32))
    return Record(
        key=b"%d" % number, value=value, headers=[("schema", CODEC.schema_name.encode()), ("label", label.encode())]
    )


@pytest.fixture(scope="module")
def manifest(kafka: KafkaConnection, new_topic: Callable[..., str]) -> Manifest:
    """`SAMPLES` samples that are their own content, and one that is none; their label is their remainder by 3."""
    topic = new_topic()
    produce(kafka, topic, [*(record(number, "abc"[number % 3]) for number in range(SAMPLES)), record(SAMPLES, "z")])
    return Manifest(
        pipeline=topic,
        ranges=tuple(freeze_ranges(kafka, topic)),
        schema=CODEC.schema_name,
        labels=("a", "b", "c"),
        split=Split("salt", 1e-9),
        seed=1,
    )


def feed_of(kafka: KafkaConnection, manifest: Manifest) -> Feed:
    return Feed(kafka, manifest, CODEC, batch_size=64, window=256)


def batches(dataset: Any) -> list[tuple[list[Any], list[Any]]]:
    return [(inputs.tolist(), labels.tolist()) for inputs, labels in dataset.as_numpy_iterator()]


def test_it_gives_the_batches_of_the_feed_with_shapes_and_types(kafka: KafkaConnection, manifest: Manifest) -> None:
    import tensorflow as tf

    feed = feed_of(kafka, manifest)
    dataset = feed.as_tensorflow()
    assert isinstance(dataset, tf.data.Dataset)
    inputs, labels = dataset.element_spec
    assert (inputs.shape.as_list(), inputs.dtype) == ([None, 2], tf.float32)
    assert (labels.shape.as_list(), labels.dtype) == ([None], tf.int64)
    assert batches(dataset) == [(one.tolist(), two.tolist()) for one, two in feed_of(kafka, manifest)]
    assert feed.report.total == SAMPLES
    assert feed.report.refused == {"unknown-label": 1}


def test_repeated_it_goes_through_the_epochs(kafka: KafkaConnection, manifest: Manifest) -> None:
    twice = batches(feed_of(kafka, manifest).as_tensorflow().repeat(2))
    assert len(twice) == 2 * -(-SAMPLES // 64)
    first, second = twice[: len(twice) // 2], twice[len(twice) // 2 :]
    assert first != second
    for half in (first, second):
        assert sorted(number for inputs, _ in half for number, _ in inputs) == list(range(SAMPLES))


def test_a_pass_that_is_left_early_goes_on_where_it_was(kafka: KafkaConnection, manifest: Manifest) -> None:
    feed, whole = feed_of(kafka, manifest), batches(feed_of(kafka, manifest).as_tensorflow())
    taken = batches(feed.as_tensorflow().take(3))
    state = feed.state_dict()
    assert state["batch"] == 3
    resumed = feed_of(kafka, manifest)
    resumed.load_state_dict(state)
    assert taken + batches(resumed.as_tensorflow()) == whole


def test_the_targets_of_a_regression_are_rows_of_numbers(kafka: KafkaConnection, new_topic: Callable[..., str]) -> None:
    topic = new_topic()
    produce(kafka, topic, [record(number, f"[{number}, 0.5]") for number in range(10)])
    manifest = Manifest(
        pipeline=topic,
        ranges=tuple(freeze_ranges(kafka, topic)),
        schema=CODEC.schema_name,
        labels=("number", "half"),
        split=Split("salt", 1e-9),
        seed=1,
        task="regression",
    )
    ((inputs, targets),) = batches(feed_of(kafka, replace(manifest)).as_tensorflow())
    assert targets == [[number, 0.5] for number, _ in inputs]


def test_a_keras_model_of_tensorflow_learns_from_it(kafka: KafkaConnection, manifest: Manifest) -> None:
    import tensorflow as tf

    dataset = feed_of(kafka, manifest).as_tensorflow()
    logits = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(3)])
    logits.compile("adam", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = logits.fit(dataset.repeat(2), epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
