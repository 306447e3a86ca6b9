"""The samples of all benchmarks: sparse 28x28 images as encoded records."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np

from include.codecs.raw import RawCodec

LABELS = tuple(f"class-{number}" for number in range(10))
CODEC = RawCodec(shape=(1, 28, 28), scale=1 / 255)
DISTINCT = 4096
INK = 0.2


@dataclass(frozen=True)
class EncodedSample:
    """An encoded sample."""

    id: str
    value: bytes
    label: str


def samples(count: int, seed: int) -> list[EncodedSample]:
    """`count` samples of 784 bytes, a fifth of the pixels not zero; the images repeat every 4096 samples."""
    generator = np.random.default_rng(seed)
    shape = (DISTINCT, *CODEC.shape)
    pixels = generator.integers(1, 256, shape, np.uint8)
    pixels[generator.random(shape) > INK] = 0
    labels = generator.integers(0, len(LABELS), count)
    values = islice(cycle([CODEC.encode(image) for image in pixels]), count)
    return [
        EncodedSample(f"sample-{number:08d}", value, LABELS[label])
        for number, (value, label) in enumerate(zip(values, labels.tolist(), strict=True))
    ]
