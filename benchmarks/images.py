"""Decoding images through the codec, against the decoder alone on the same bytes."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice

import numpy as np
import simplejpeg
from PIL import Image

from benchmarks import produce
from benchmarks.measure import Comparison, Contender, Run, Stopwatch, take_turns
from benchmarks.samples import LABELS, EncodedSample
from include.codecs import available_threads
from include.codecs.jpeg import JpegCodec
from include.feed.feed import Feed
from include.feed.manifest import Manifest
from include.kafka.connection import KafkaConnection
from include.kafka.topics import TopicSpec, ensure_topics

TARGET = 0.8
CODEC = JpegCodec(height=224, width=224, channels=3)
TOPIC = TopicSpec("bench.photographs", partitions=4)
PHOTOGRAPHS, RECORDS = 256, 16_384
QUALITY = 90
BATCH_SIZE, WINDOW = 64, 512


def compare(
    connection: KafkaConnection, *, seed: int, repeats: int, on_round: Callable[[int], None]
) -> Iterator[Comparison]:
    """Decode batches of JPEG images by the codec and without it, and read them out of a topic as a network's inputs."""
    values = [*islice(cycle(photographs(PHOTOGRAPHS, seed)), RECORDS)]
    batches = [values[start : start + BATCH_SIZE] for start in range(0, RECORDS, BATCH_SIZE)]
    manifest = _written(connection, values, seed)
    threads = available_threads()
    contenders: dict[str, Contender] = {
        "codec": lambda: _run(lambda: _decode(batches)),
        "limit": lambda: _run(lambda: _decode_bare(batches, threads)),
        "feed": lambda: _run(lambda: _feed(connection, manifest)),
    }
    runs = take_turns(contenders, repeats=repeats, on_round=on_round)
    size = sum(map(len, values)) / RECORDS / 1024
    limit = f"simplejpeg.decode_jpeg into an array for each batch, in {threads} threads, no checks"
    yield Comparison(
        name="photographs, decoded",
        question="What do the codec's checks cost beside the bare decoder?",
        ours=f"codec.decode of batches of {BATCH_SIZE} photographs, 224x224 pixels and {size:.0f} KiB each",
        limit=limit,
        runs={"ours": runs["codec"], "limit": runs["limit"]},
        target=TARGET,
    )
    yield Comparison(
        name="photographs, feed",
        question="How fast do photographs in a topic become batches, beside the bare decoder on all cores?",
        ours=f"the same photographs out of a topic: shuffled uint8 batches of {BATCH_SIZE}, window of {WINDOW}",
        limit=limit,
        runs={"ours": runs["feed"], "limit": runs["limit"]},
        target=TARGET,
    )


def photographs(count: int, seed: int) -> list[bytes]:
    """JPEG crops of the two photographs that scikit-learn ships."""
    from sklearn.datasets import load_sample_images

    generator = np.random.default_rng(seed)
    pictures = [Image.fromarray(picture) for picture in load_sample_images().images]
    values = []
    for number in range(count):
        picture = pictures[number % len(pictures)]
        side = int(generator.integers(CODEC.width, min(picture.size) + 1))
        left, top = (int(generator.integers(0, length - side + 1)) for length in picture.size)
        part = picture.resize((CODEC.width, CODEC.height), box=(left, top, left + side, top + side))
        buffer = io.BytesIO()
        part.save(buffer, "JPEG", quality=QUALITY)
        values.append(buffer.getvalue())
    return values


def _written(connection: KafkaConnection, values: Sequence[bytes], seed: int) -> Manifest:
    ensure_topics(connection, [TOPIC])
    samples = [
        EncodedSample(f"photograph-{number:08d}", value, LABELS[number % len(LABELS)])
        for number, value in enumerate(values)
    ]
    return produce.written(connection, TOPIC.name, samples, seed, schema=CODEC.schema_name)


def _decode(batches: Sequence[Sequence[bytes]]) -> int:
    return sum(len(CODEC.decode(batch).samples) for batch in batches)


def _decode_bare(batches: Sequence[Sequence[bytes]], threads: int) -> int:
    """Each thread decodes its share of every batch, without synchronisation."""

    def decode(first: int) -> None:
        for batch in batches:
            share = batch[first::threads]
            pixels = np.empty((len(share), CODEC.height, CODEC.width, CODEC.channels), np.uint8)
            for value, room in zip(share, pixels, strict=True):
                simplejpeg.decode_jpeg(value, colorspace="RGB", buffer=room)

    workers = [threading.Thread(target=decode, args=(first,)) for first in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(map(len, batches))


def _feed(connection: KafkaConnection, manifest: Manifest) -> int:
    feed = Feed(connection, manifest, CODEC, batch_size=BATCH_SIZE, window=WINDOW)
    return sum(len(labels) for _, labels in feed.for_device())


def _run(work: Callable[[], int]) -> Run:
    watch = Stopwatch()
    done = work()
    if done != RECORDS:
        raise RuntimeError(f"{done:,} of {RECORDS:,} photographs were decoded: so the figures are invalid.")
    return watch.run(done)
