"""One outcome for every record, in the records' order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from confluent_kafka import Message

from include.codecs.png import PngCodec
from include.codecs.raw import RawCodec
from include.prediction.answer import FORWARD_SAMPLES, answer, predict
from include.reading.layout import RecordLayout
from include.reading.records import RecordReader
from include.refusal import Refusal
from include.targets.classification import Classification
from tests.support.tiny_pipelines import LETTERS, SCHEMA, certainty, letter, numbers, tiny_predictor

CODEC = RawCodec(shape=(4,), dtype="float32")


@pytest.fixture(scope="module")
def network():
    return tiny_predictor().network


def message(value, schema=SCHEMA):
    return Message(key=b"id", value=value, headers=[("schema", schema)])


def outcomes_of(network, messages):
    return answer(
        network, CODEC, Classification(LETTERS), RecordReader(RecordLayout(), CODEC.schema_name).read(messages)
    )


def test_a_sample_gets_its_label_and_its_probability(network):
    (outcome,) = outcomes_of(network, [message(numbers(3).tobytes())])

    assert outcome["label"] == letter(numbers(3))
    assert outcome["score"] == pytest.approx(certainty(numbers(3)), abs=1e-6)


def test_outcomes_are_in_the_order_of_their_records(network):
    good = [message(numbers(number).tobytes()) for number in range(4)]
    messages = [message(b"123"), good[0], message(b"x", b"image.png/1"), good[1], good[2], message(None), good[3]]

    outcomes = outcomes_of(network, messages)

    reasons_and_labels = [outcome.reason if isinstance(outcome, Refusal) else outcome["label"] for outcome in outcomes]
    letters = [letter(numbers(number)) for number in range(4)]
    assert reasons_and_labels == ["wrong-size", letters[0], "wrong-schema", letters[1], letters[2], "empty", letters[3]]


def test_more_samples_than_go_forward_at_once_are_all_predicted(network):
    count = 2 * FORWARD_SAMPLES + 3

    outcomes = outcomes_of(network, [message(numbers(number).tobytes()) for number in range(count)])

    assert [outcome["label"] for outcome in outcomes] == [letter(numbers(number)) for number in range(count)]


def test_images_are_predicted_by_the_inputs_that_a_training_has_of_them():
    codec = PngCodec(height=4, width=4, channels=3, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    pixels = np.random.default_rng(0).integers(0, 256, (FORWARD_SAMPLES + 3, *codec.sample_shape), np.uint8)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, len(LETTERS)))

    outcomes = predict(network, codec, Classification(LETTERS), pixels)

    with torch.inference_mode():
        outputs = network(codec.on_device(torch.from_numpy(codec.for_device(pixels))))
    assert [outcome["label"] for outcome in outcomes] == [LETTERS[place] for place in outputs.argmax(1).tolist()]


@pytest.mark.parametrize("messages", [[], [message(b"123")]], ids=["no records", "no samples"])
def test_without_samples_the_network_is_not_called(messages):
    outcomes = outcomes_of(None if False else torch.nn.Identity(), messages)

    assert all(isinstance(outcome, Refusal) for outcome in outcomes)
    assert len(outcomes) == len(messages)


def test_dropout_plays_no_part():
    network = torch.nn.Sequential(torch.nn.Dropout(0.9), tiny_predictor().network).train()
    messages = [message(numbers(number).tobytes()) for number in range(20)]

    assert [outcome["label"] for outcome in outcomes_of(network, messages)] == [letter(numbers(n)) for n in range(20)]


def test_an_output_that_is_not_finite_is_a_refusal(network):
    infinite = torch.nn.Sequential(network, Times(float("inf")))

    (outcome,) = outcomes_of(infinite, [message(np.array([1, 0, 0, 0], np.float32).tobytes())])

    assert isinstance(outcome, Refusal)
    assert outcome.reason == "not-finite"


class Times(torch.nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, inputs):
        return inputs * self.factor
