"""A request that can't be predicted becomes a dead letter: the original, unchanged, with the reason."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.measure import peak_memory
from include.kafka.ranges import freeze_ranges
from include.prediction.forward import NetworkFailed
from tests.support.producers import produce
from tests.support.publishing import (
    ask,
    dead_letters,
    headers_of,
    predicted_ids,
    predictions,
    publish,
    request,
)
from tests.support.tiny_pipelines import SCHEMA, numbers, sample_id
from tests.support.unreadable_headers import produce_unreadable_header

ZEROS = bytes(3_000_000)


@pytest.mark.parametrize(
    ("changed", "reason", "text"),
    [
        ({"value": b"123"}, b"wrong-size", b"3 bytes"),
        ({"value": None}, b"empty", b"no value"),
        ({"value": np.array([1, 2, np.nan, 4], "<f4").tobytes()}, b"not-finite", b"NaN"),
        ({"headers": []}, b"no-schema", b"no schema header"),
        ({"headers": [("schema", None)]}, b"no-schema", b"no schema header"),
        ({"headers": [("schema", b"image.png/1"), ("trace", b"x")]}, b"wrong-schema", b"'image.png/1'"),
        ({"headers": [("schema", SCHEMA), ("schema", b"x")]}, b"duplicate-header", b"twice"),
        ({"headers": [("schema", b"x" * 900_000)]}, b"header-too-long", b"900000 bytes"),
    ],
    ids=["cut short", "no value", "nan", "no schema", "empty schema", "other schema", "two schemas", "a long schema"],
)
def test_a_request_that_is_no_sample_becomes_a_dead_letter(kafka, new_pipeline, predictor, changed, reason, text):
    pipeline = new_pipeline()
    bad = request(1, **changed)
    ranges = ask(kafka, pipeline, request(0), bad, request(2))

    published = publish(kafka, pipeline, ranges, predictor, run="run-5")

    assert (published.samples, published.predictions, published.dead_letters) == (3, 2, {reason.decode(): 1})
    assert predicted_ids(kafka, pipeline) == [sample_id(0), sample_id(2)]
    (letter_,) = dead_letters(kafka, pipeline)
    assert (letter_.key(), letter_.value()) == (bad.key, bad.value)
    *original, because, error, address, run, timestamp = letter_.headers()
    assert original == list(bad.headers)
    assert because == ("dead-letter-reason", reason)
    assert error[0] == "dead-letter-error"
    assert text in error[1]
    assert address == ("dead-letter-address", f"{pipeline.requests_topic}/0/1".encode())
    assert run == ("dead-letter-run", b"run-5")
    assert timestamp == ("dead-letter-timestamp", str(bad.timestamp_ms).encode())


def test_large_headers_of_other_applications_are_accepted(kafka, new_pipeline, predictor):
    pipeline = new_pipeline()
    ranges = ask(
        kafka, pipeline, request(0, headers=[("trace", bytes(900_000)), ("schema", SCHEMA), ("schema", SCHEMA)])
    )

    assert publish(kafka, pipeline, ranges, predictor).predictions == 1


def test_unreadable_headers_are_left_out(kafka, new_pipeline, predictor):
    pipeline = new_pipeline()
    produce_unreadable_header(kafka, pipeline.requests_topic, numbers(0).tobytes())
    ranges = ask(kafka, pipeline, request(1))

    assert publish(kafka, pipeline, ranges, predictor).dead_letters == {"unreadable-headers": 1}

    (letter,) = dead_letters(kafka, pipeline)
    assert letter.value() == numbers(0).tobytes()
    assert [name for name, _ in letter.headers()][:2] == ["unreadable-headers", "dead-letter-reason"]


def test_memory_is_bounded_whatever_the_headers(kafka, new_pipeline, predictor):
    """They are 400 megabytes, and librdkafka counts only values in what it fetches ahead."""
    pipeline = new_pipeline()
    headers = [("schema", SCHEMA), ("trace", os.urandom(1_000_000))]
    for start in range(0, 400, 40):
        ranges = ask(kafka, pipeline, *(request(start + number, headers=headers) for number in range(40)))

    with peak_memory() as memory:
        assert publish(kafka, pipeline, ranges, predictor).predictions == 400

    assert memory.growth < 260


def test_an_output_that_is_no_number_becomes_a_dead_letter(kafka, new_pipeline, predictor):
    pipeline = new_pipeline()
    overflowing = np.array([3e38, 3e38, 3e38, 0], "<f4").tobytes()
    ranges = ask(kafka, pipeline, request(0), request(1, value=overflowing))

    class Doubling(torch.nn.Module):
        def forward(self, inputs):
            return predictor.network(inputs * 2)

    publish(kafka, pipeline, ranges, replace(predictor, network=Doubling()))

    assert predicted_ids(kafka, pipeline) == [sample_id(0)]
    assert headers_of(dead_letters(kafka, pipeline)[0])["dead-letter-reason"] == b"not-finite"


def test_a_request_that_makes_the_network_fail_becomes_a_dead_letter_alone(kafka, new_pipeline, predictor):
    """A token that the embedding has no row for: torch raises for the whole batch."""
    pipeline = new_pipeline(format={"kind": "tensor.raw", "shape": [4], "dtype": "int32"})
    tokens = np.arange(40, dtype="<i4").reshape(10, 4) % 20
    tokens[6, 2] = 20
    ranges = ask(kafka, pipeline, *(request(number, value=row.tobytes()) for number, row in enumerate(tokens)))

    published = publish(kafka, pipeline, ranges, replace(predictor, network=Tokens()))

    assert published.dead_letters == {"network-failed": 1}
    assert predicted_ids(kafka, pipeline) == [sample_id(number) for number in range(10) if number != 6]
    (letter,) = dead_letters(kafka, pipeline)
    assert (letter.key(), letter.value()) == (sample_id(6).encode(), tokens[6].tobytes())
    assert b"index out of range" in headers_of(letter)["dead-letter-error"]


class Tokens(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(20, 3)

    def forward(self, inputs):
        return self.embedding(inputs.long()).sum(dim=1)


def test_a_network_that_always_fails_makes_no_dead_letters(kafka, new_pipeline, predictor):
    """Even for few requests, far from the limits: a retry may load another model."""
    pipeline = new_pipeline()
    ranges = ask(kafka, pipeline, request(0))

    with pytest.raises(NetworkFailed):
        publish(kafka, pipeline, ranges, replace(predictor, network=torch.nn.Linear(5, 3)))

    assert dead_letters(kafka, pipeline) == []
    assert publish(kafka, pipeline, ranges, predictor).predictions == 1


def test_the_largest_request_there_can_be_fits_into_the_dead_letters(kafka, new_pipeline, predictor):
    """Above its own limit of 1 MB, librdkafka refuses records that the topic would accept."""
    pipeline = new_pipeline()
    value = os.urandom(pipeline.topics.max_record_bytes - 300)
    ranges = ask(kafka, pipeline, request(0, value=value))

    publish(kafka, pipeline, ranges, predictor)

    assert dead_letters(kafka, pipeline)[0].value() == value


def test_a_request_whose_prediction_is_too_large_becomes_a_dead_letter(kafka, new_pipeline, predictor):
    pipeline = new_pipeline()
    ranges = ask(kafka, pipeline, request(0), request(1, key=b"k" * 600_000), request(2))

    publish(kafka, pipeline, ranges, predictor)

    assert len(predictions(kafka, pipeline)) == 2
    (letter,) = dead_letters(kafka, pipeline)
    assert headers_of(letter)["dead-letter-reason"] == b"oversize"


@pytest.mark.parametrize("large", [{"value": ZEROS}, {"key": ZEROS}, {"headers": [("trace", ZEROS)]}], ids=list)
def test_what_is_too_large_for_the_dead_letters_is_published_without_it(kafka, new_pipeline, predictor, large):
    """A topic's limit is for compressed records, so three million zeros fit into a topic for records of 1 MB."""
    pipeline = new_pipeline()
    bad = request(1, **{"value": b"123", **large})
    produce(kafka, pipeline.requests_topic, [request(0), bad, request(2)], compression="lz4")

    published = publish(kafka, pipeline, freeze_ranges(kafka, pipeline.requests_topic), predictor)

    assert (published.samples, published.predictions, published.dead_letters) == (3, 2, {"oversize": 1})
    assert predicted_ids(kafka, pipeline) == [sample_id(0), sample_id(2)]
    (letter,) = dead_letters(kafka, pipeline)
    assert letter.value() is None
    assert letter.key() == (None if "key" in large else bad.key)
    explained = headers_of(letter)
    assert explained["dead-letter-reason"] == b"oversize"
    assert explained["dead-letter-address"] == f"{pipeline.requests_topic}/0/1".encode()
    assert "trace" not in explained
