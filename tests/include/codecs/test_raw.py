"""Raw arrays come out as they went in, and everything else comes out as a refusal."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from include.codecs.raw import RawCodec

FLOATS = RawCodec(shape=(2, 3), dtype="float32")
DTYPES = ["uint8", "int16", "int32", "float32", "float64"]


def refusal_of(codec, value):
    decoded = codec.decode([value])
    assert decoded.samples.shape == (0, *codec.sample_shape)
    (refusal,) = decoded.refusals
    assert refusal.position == 0
    return refusal


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_array_comes_out_as_it_went_in(dtype):
    codec = RawCodec(shape=(2, 3), dtype=dtype)
    samples = np.random.default_rng(0).integers(0, 100, (4, 2, 3)).astype(dtype)

    decoded = codec.decode([codec.encode(sample) for sample in samples])

    assert decoded.refusals == []
    assert decoded.positions.tolist() == [0, 1, 2, 3]
    assert decoded.samples.dtype == dtype
    np.testing.assert_array_equal(decoded.samples, samples)


def test_bytes_are_little_endian_and_in_c_order():
    codec = RawCodec(shape=(2, 2), dtype="int16")

    assert codec.encode(np.array([[1, 2], [3, 256]], np.int16).T.copy().T) == b"\1\0\2\0\3\0\0\1"


def test_samples_keep_the_positions_of_their_records():
    first, second = (np.full((2, 3), number, np.float32) for number in (1, 2))
    not_finite = np.full((2, 3), np.nan, np.float32)

    decoded = FLOATS.decode([b"short", FLOATS.encode(first), FLOATS.encode(not_finite), None, FLOATS.encode(second)])

    assert decoded.positions.tolist() == [1, 4]
    np.testing.assert_array_equal(decoded.samples, [first, second])
    assert {(refusal.position, refusal.reason) for refusal in decoded.refusals} == {
        (0, "wrong-size"),
        (2, "not-finite"),
        (3, "empty"),
    }


def test_nothing_decodes_to_nothing():
    decoded = FLOATS.decode([])

    assert decoded.samples.shape == (0, 2, 3)
    assert (len(decoded.positions), decoded.refusals) == (0, [])


@pytest.mark.parametrize(
    ("value", "reason", "told"),
    [
        (None, "empty", "no value"),
        (b"", "empty", "no value"),
        (bytes(23), "wrong-size", "23 bytes and float32 of shape (2, 3) takes 24"),
        (bytes(25), "wrong-size", "25 bytes"),
        (np.array([0, 1, 2, 3, 4, np.nan], "<f4").tobytes(), "not-finite", "NaN"),
        (np.array([np.inf, 1, 2, 3, 4, 5], "<f4").tobytes(), "not-finite", "infinity"),
        (np.array([0, 1, -np.inf, 3, 4, 5], "<f4").tobytes(), "not-finite", "infinity"),
    ],
)
def test_what_is_no_array_of_this_format_is_refused(value, reason, told):
    refusal = refusal_of(FLOATS, value)

    assert refusal.reason == reason
    assert told in refusal.error


@pytest.mark.parametrize(("dtype", "scale", "number"), [("float64", 1.0, 1e300), ("float32", 1e20, 1e20)])
def test_a_number_that_inputs_cannot_hold_is_refused(dtype, scale, number):
    """It would become an infinity in the batch, and a NaN in every weight."""
    codec = RawCodec(shape=(1,), dtype=dtype, scale=scale)

    assert refusal_of(codec, codec.encode(np.array([number], dtype))).reason == "not-finite"


@pytest.mark.parametrize("dtype", DTYPES)
def test_inputs_are_scaled_float32(dtype):
    codec = RawCodec(shape=(2,), dtype=dtype, scale=0.5)

    inputs = codec.to_inputs(codec.decode([codec.encode(np.array([1, 6]).astype(dtype))]).samples)

    assert inputs.dtype == np.float32
    assert inputs.tolist() == [[0.5, 3.0]]


@pytest.mark.parametrize("seed", [1, 2, 3], ids="seed {}".format)
@pytest.mark.parametrize("dtype", DTYPES)
def test_any_bytes_give_a_sample_or_a_refusal(dtype, seed):
    random = np.random.default_rng(seed)
    codec = RawCodec(shape=(3,), dtype=dtype)
    size = 3 * np.dtype(dtype).itemsize
    values = [random.bytes(random.integers(size - 1, size + 2)) for _ in range(500)]

    decoded = codec.decode(values)

    positions = [*decoded.positions.tolist(), *(refusal.position for refusal in decoded.refusals)]
    assert sorted(positions) == list(range(500))
    assert np.isfinite(codec.to_inputs(decoded.samples)).all()


@pytest.mark.parametrize(
    "sample",
    [np.zeros((3, 2), np.float32), np.zeros((2, 3), np.float64), np.zeros(6, np.float32)],
    ids=["other shape", "other dtype", "flat"],
)
def test_a_sample_that_the_format_does_not_describe_is_not_encoded(sample):
    with pytest.raises(ValueError, match=r"does not fit the format's \(2, 3\) and float32"):
        FLOATS.encode(sample)


@pytest.mark.parametrize(
    "settings",
    [
        {"shape": []},
        {"shape": [0]},
        {"shape": [4], "dtype": "complex64"},
        {"shape": [4], "scale": float("nan")},
        {"shape": [4], "scale": float("inf")},
        {"shape": [4], "scales": 1.0},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValidationError):
        RawCodec.model_validate(settings)


def test_the_schema_names_kind_and_version():
    assert FLOATS.schema_name == "tensor.raw/1"
