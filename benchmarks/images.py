"""Decoding images through the codec, against the decoder alone on the same bytes."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
import simplejpeg
from PIL import Image

from benchmarks.measure import Comparison, take_turns
from include.codecs.jpeg import JpegCodec
from include.codecs.threads import available_threads

TARGET = 0.8
CODEC = JpegCodec(height=224, width=224, channels=3)
IMAGES = 256
ROUNDS = 8
QUALITY = 90


def compare(*, seed: int, repeats: int, on_round: Callable[[int], None]) -> Comparison:
    """Decode batches of JPEG images, as samples and as a network's inputs, and by as many threads without the codec."""
    values = photographs(IMAGES, seed)
    threads = available_threads()
    contenders: dict[str, Callable[[], float]] = {
        "ours": lambda: _rate(lambda: len(CODEC.decode(values).samples)),
        "limit": lambda: _rate(lambda: _decode_bare(values, threads)),
        "inputs too": lambda: _rate(lambda: len(CODEC.to_inputs(CODEC.decode(values).samples))),
    }
    for contender in contenders.values():
        contender()
    rates = take_turns(contenders, repeats=repeats, on_round=on_round)
    size = sum(map(len, values)) / len(values) / 1024
    return Comparison(
        name="decoding JPEG",
        ours=f"codec.decode of {IMAGES} photographs of 224x224 pixels, {size:.0f} KiB each: structure, size, pixels",
        limit=f"simplejpeg.decode_jpeg into one array for the {IMAGES}, in {threads} threads, nothing looked at",
        rates=rates,
        target=TARGET,
        notes=("inputs too: ours with float32 inputs (channels, height, width) for a network, which the limit lacks",),
    )


def photographs(count: int, seed: int) -> list[bytes]:
    """JPEG files cut out of the two photographs that scikit-learn ships."""
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


def _decode_bare(values: Sequence[bytes], threads: int) -> int:
    pixels = np.empty((len(values), CODEC.height, CODEC.width, CODEC.channels), np.uint8)

    def decode(first: int) -> None:
        for position in range(first, len(values), threads):
            simplejpeg.decode_jpeg(values[position], colorspace="RGB", buffer=pixels[position])

    workers = [threading.Thread(target=decode, args=(first,)) for first in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return len(pixels)


def _rate(decode: Callable[[], int]) -> float:
    began = time.perf_counter()
    done = sum(decode() for _ in range(ROUNDS))
    return done / (time.perf_counter() - began)
