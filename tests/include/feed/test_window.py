"""Windows and batches: no sample is left for a batch of its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import numpy as np
import pytest

from include.codecs.mp3 import Mp3Codec
from include.codecs.raw import RawCodec
from include.feed.plan import batch_ends
from include.feed.window import MAX_ARRAY_BYTES, Part, WindowReader, decodes_early

ROW = np.dtype([("label", "i8"), ("block", "i8"), ("offset", "i8"), ("outcome", "i8")])
CODEC = RawCodec.model_validate({"shape": [1], "dtype": "uint8"})


def parts(sizes: list[int]):
    offset = 0
    for size in sizes:
        rows = np.zeros(size, ROW)
        rows["offset"] = np.arange(offset, offset + size)
        yield Part((rows["offset"] % 256).astype(np.uint8).reshape(-1, 1), rows)
        offset += size


def windows(sizes: list[int], size: int) -> list[list[int]]:
    reader = WindowReader(CODEC, size, ROW, decoded=True)
    reader.begin(parts([3]))
    reader.take()
    reader.begin(parts(sizes))
    found = []
    with ThreadPoolExecutor(1) as pool:
        while (window := reader.take()) is not None:
            batch = window.begin(np.arange(len(window)), pool)()
            assert batch.samples.ravel().tolist() == [offset % 256 for offset in window.rows["offset"].tolist()]
            found.append(window.rows["offset"].tolist())
    return found


@pytest.mark.parametrize(
    "sizes", [[9], [1] * 9, [4, 4, 1], [5, 4], [8, 1], [8, 1, 0], [8, 0, 1], [0, 8, 0, 0, 1, 0, 0]]
)
def test_a_last_sample_joins_the_window_before_it(sizes):
    assert [len(window) for window in windows(sizes, 4)] == [4, 5]
    assert list(chain.from_iterable(windows(sizes, 4))) == list(range(9))


@pytest.mark.parametrize(
    ("sizes", "lengths"),
    [
        ([10], [4, 4, 2]),
        ([8], [4, 4]),
        ([1], [1]),
        ([4, 1, 1], [4, 2]),
        ([4, 1, 0, 1], [4, 2]),
        ([4, 0], [4]),
        ([0], []),
    ],
)
def test_other_windows_are_full_up_to_the_last(sizes, lengths):
    assert [len(window) for window in windows(sizes, 4)] == lengths


@pytest.mark.parametrize(
    ("samples", "ends"), [(9, [4, 9]), (10, [4, 8, 10]), (8, [4, 8]), (5, [5]), (3, [3]), (1, [1]), (0, [])]
)
def test_a_last_sample_joins_the_batch_before_it(samples, ends):
    assert batch_ends(samples, 4) == ends


def test_batches_of_one_stay_batches_of_one():
    assert batch_ends(3, 1) == [1, 2, 3]


def test_samples_are_decoded_early_where_that_copies_or_is_used_again_and_fits():
    # No MP3 has this rate: files are resampled to it, and none can be written.
    sounds = Mp3Codec(sample_rate=10_000, seconds=1)

    assert decodes_early(CODEC, 8192, reused=False)
    assert not decodes_early(CODEC, MAX_ARRAY_BYTES + 1, reused=True)
    assert not decodes_early(sounds, 8192, reused=False)
    assert decodes_early(sounds, 8192, reused=True)
