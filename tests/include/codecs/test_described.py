"""The statistics that show whether inputs are still like those that a model has learnt from."""

from __future__ import annotations

import numpy as np
import pytest

from include.codecs.base import Codec
from include.codecs.pcm import PcmCodec
from include.codecs.raw import RawCodec
from include.codecs.row import DESCRIBED_CODES, RowCodec
from include.codecs.utf8 import Utf8Codec


def described(codec: Codec, *values: bytes) -> list[dict[str, float]]:
    inputs = codec.to_inputs(codec.decode(values).samples)
    return [dict(zip(codec.described, row, strict=True)) for row in codec.describe(inputs).tolist()]


def test_arrays_have_a_mean_and_a_deviation() -> None:
    codec = RawCodec(shape=(2, 2), dtype="float32")

    assert described(codec, np.array([1, 1, 3, 3], "<f4").tobytes()) == [{"mean": 2, "deviation": 1}]


def test_texts_have_a_length_without_their_padding() -> None:
    (found,) = described(Utf8Codec(length=100), b"aac")

    assert found["length"] == 3
    assert found["mean"] == pytest.approx((97 + 97 + 99) / 3)
    assert found["deviation"] == pytest.approx(np.std([97, 97, 99]))


def test_sounds_have_the_seconds_between_the_silence_at_both_ends() -> None:
    codec = PcmCodec(sample_rate=8000, seconds=2.0)
    tone = (20_000 * np.sin(np.arange(8000) * 0.5)).astype("<i2")
    pause = tone.copy()
    pause[2000:6000] = 0

    half, paused, silent = described(codec, tone.tobytes(), pause.tobytes(), bytes(16_000))

    # One more window of 512 samples at each end hears the tone.
    assert half["seconds"] == paused["seconds"] == pytest.approx(1.0, abs=0.1)
    assert silent == {"seconds": 0, "mean": 0, "deviation": 0}


def test_rows_have_their_columns_and_the_rarer_categories_are_one() -> None:
    codec = RowCodec(numbers=("age",), categories=("town",), missing="mark")
    counting = codec.counting()
    towns = [f"t{number:02}" for number in range(20)]
    counting.decode([f'{{"age": {n}, "town": "{town}"}}'.encode() for n, town in enumerate(towns)])
    codec = codec.with_statistics(counting.statistics)

    first, last, none = described(codec, b'{"age": 9.5, "town": "t00"}', b'{"town": "t19"}', b"{}")

    assert first == {"age": 0, "age is missing": 0, "town": 2}
    assert last == {"age": 0, "age is missing": 1, "town": DESCRIBED_CODES - 1}
    assert none["town"] == 0


@pytest.mark.parametrize(
    "codec",
    [
        RawCodec(shape=(4,), dtype="float32"),
        Utf8Codec(length=10),
        PcmCodec(sample_rate=8000, seconds=0.5),
    ],
    ids=lambda codec: codec.kind,
)
def test_no_inputs_have_no_rows(codec: Codec) -> None:
    assert codec.describe(np.zeros((0, *codec.input_shape), np.float32)).shape == (0, len(codec.described))
