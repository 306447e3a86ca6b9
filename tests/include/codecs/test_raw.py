"""Raw arrays of every dtype are decoded as they were encoded, and their inputs are finite."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from include.codecs.raw import RawCodec
from include.definition.kinds import KINDS

FLOATS = RawCodec(shape=(2, 3), dtype="float32")
DTYPES = ["uint8", "int16", "int32", "float32", "float64"]


def refusal_of(codec, value):
    (refusal,) = codec.decode([value]).refusals.values()
    return refusal


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_array_is_decoded_as_it_was_encoded(dtype):
    codec = RawCodec(shape=(2, 3), dtype=dtype)
    samples = np.random.default_rng(0).integers(0, 100, (4, 2, 3)).astype(dtype)

    decoded = codec.decode([codec.encode(sample) for sample in samples])

    assert decoded.refusals == {}
    assert decoded.samples.dtype == dtype
    np.testing.assert_array_equal(decoded.samples, samples)


def test_bytes_are_little_endian_and_in_c_order():
    codec = RawCodec(shape=(2, 2), dtype="int16")

    assert codec.encode(np.array([[1, 2], [3, 256]], np.int16).T.copy().T) == b"\1\0\2\0\3\0\0\1"


def test_a_value_of_another_size_is_refused_with_both_sizes():
    assert refusal_of(FLOATS, bytes(23)).error == "The record has 23 bytes and float32 of shape (2, 3) takes 24."


@pytest.mark.parametrize(("dtype", "scale", "number"), [("float64", 1.0, 1e300), ("float32", 1e20, 1e20)])
def test_a_number_beyond_float32_inputs_is_refused(dtype, scale, number):
    """It would become infinity in the batch and NaN in every weight."""
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
def test_any_bytes_become_finite_inputs_or_a_refusal(dtype, seed):
    random = np.random.default_rng(seed)
    codec = RawCodec(shape=(3,), dtype=dtype, scale=1e20)
    values = [random.bytes(3 * np.dtype(dtype).itemsize) for _ in range(500)]

    decoded = codec.decode(values)

    assert len(decoded.positions) + len(decoded.refusals) == 500
    assert np.isfinite(codec.to_inputs(decoded.samples)).all()


@pytest.mark.parametrize("kind", ["tensor.raw", "tensor.npy", "tensor.base64"])
@pytest.mark.parametrize(
    "settings",
    [
        {"shape": []},
        {"shape": [0]},
        {"shape": [-1, -1]},
        {"shape": [2**26 + 1]},
        {"shape": [2**32, 2**32]},
        {"shape": [4], "dtype": "complex64"},
        {"shape": [4], "dtype": "object"},
        {"shape": [4], "scale": float("nan")},
        {"shape": [4], "scale": float("inf")},
        {"shape": [4], "scale": 1e21},
        {"shape": [4], "scales": 1.0},
    ],
    ids=str,
)
def test_invalid_settings_are_refused(kind, settings):
    with pytest.raises(ValidationError):
        KINDS["format"][kind].model_validate(settings)
