"""Images that are decoded ahead, in threads: the same batches, in the same order, with the same refusals."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from include.codecs.png import PngCodec
from include.feed.cached import CachedBatches
from include.feed.feed import Feed
from include.feed.manifest import Manifest
from include.feed.split import Split
from include.kafka.ranges import freeze_ranges
from tests.support.producers import Record, produce

CODEC = PngCodec(height=32, width=32, channels=3, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
LABELS = ("a", "b", "c")
COUNT, DAMAGED = 200, 17
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, *CODEC.sample_shape), np.uint8)


@pytest.fixture(scope="module")
def manifest(kafka, new_topic):
    topic = new_topic(partitions=2)
    for partition in range(2):
        produce(kafka, topic, [_record(number) for number in range(partition, COUNT, 2)], partition=partition)
    return Manifest(
        pipeline=topic,
        ranges=tuple(freeze_ranges(kafka, topic)),
        schema=CODEC.schema_name,
        labels=LABELS,
        split=Split("salt", 0.1),
        seed=1,
    )


def _record(number):
    value = CODEC.encode(IMAGES[number])
    assert len(value) > 2048, "large enough for threads"
    headers = [("schema", CODEC.schema_name.encode()), ("label", LABELS[number % 3].encode())]
    return Record(value[:-1] if number == DAMAGED else value, key=f"sample-{number}".encode(), headers=headers)


@pytest.fixture(autouse=True, params=[1, 3], ids=["1 thread", "3 threads"])
def _threads(request, monkeypatch):
    monkeypatch.setattr("include.codecs._threads._allowed", request.param)


def make_feed(kafka, manifest, **settings):
    return Feed(kafka, manifest, CODEC, **{"batch_size": 16, "window": 48, **settings})


def epoch(feed):
    """Batches as lists of the numbers of their images, whose labels are theirs."""
    found = []
    for batch, labels in feed.for_device():
        assert batch.dtype == torch.uint8
        numbers = [int(np.flatnonzero((image == IMAGES).all(axis=(1, 2, 3)))[0]) for image in batch.numpy()]
        assert [number % 3 for number in numbers] == labels.tolist()
        found.append(numbers)
    return found


def test_each_image_comes_once_in_an_order_of_which_threads_decide_nothing(kafka, manifest, monkeypatch):
    sides = [make_feed(kafka, manifest, side=side) for side in ("train", "held_out")]
    served = [epoch(feed) for feed in sides]

    assert sorted(number for side in served for batch in side for number in batch) == [
        number for number in range(COUNT) if number != DAMAGED
    ]
    assert sides[0].report.refused + sides[1].report.refused == {"undecodable": 1}
    monkeypatch.setattr("include.feed.feed.DECODE_AHEAD_BATCHES", 0)
    again = [make_feed(kafka, manifest, side=side) for side in ("train", "held_out")]
    assert [epoch(feed) for feed in again] == served
    assert [feed.report for feed in again] == [feed.report for feed in sides]


def test_a_resumed_feed_goes_on_after_the_last_batch_that_was_served(kafka, manifest):
    whole = epoch(make_feed(kafka, manifest))
    feed = make_feed(kafka, manifest)
    for served, _ in enumerate(feed.for_device(), 1):
        if served == 4:
            break
    resumed = make_feed(kafka, manifest)
    resumed.load_state_dict(feed.state_dict())

    assert epoch(resumed) == whole[4:]


def test_the_feed_s_inputs_are_those_that_its_batches_become_on_a_device(kafka, manifest):
    feed = make_feed(kafka, manifest)
    inputs = torch.cat([inputs for inputs, _ in make_feed(kafka, manifest)])

    assert inputs.dtype == torch.float32
    assert torch.equal(inputs, torch.cat([CODEC.on_device(batch) for batch, _ in feed.for_device()]))


def test_leaving_early_leaves_no_decoder(kafka, manifest):
    for _ in make_feed(kafka, manifest).for_device():
        break

    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("feed-")]


def test_an_error_of_a_decoder_reaches_who_iterates(kafka, manifest, monkeypatch):
    def without_memory(*_):
        raise MemoryError("no room")

    monkeypatch.setattr(PngCodec, "read_into", without_memory)

    with pytest.raises(MemoryError, match="no room"):
        epoch(make_feed(kafka, manifest))


def test_held_out_images_are_kept_as_pixels(kafka, manifest):
    held_out = CachedBatches(lambda: make_feed(kafka, replace(manifest), side="held_out", shuffle=False))

    first, second = [torch.cat([batch for batch, _ in held_out]) for _ in range(2)]

    assert first.dtype == torch.uint8
    assert torch.equal(first, second)
