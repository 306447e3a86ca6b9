"""Arrays from .npy files, as NumPy and other programs write them."""

from __future__ import annotations

import io
from itertools import permutations

import numpy as np
import pytest

from include.codecs.npy import NpyCodec
from tests.support.corpus import NUMBERS, WHOLE_NPY, npy, npy_with

FLOATS = NpyCodec(shape=(2, 3), dtype="float32")


def test_numpy_reads_what_is_encoded():
    assert FLOATS.encode(NUMBERS) == WHOLE_NPY


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)], ids=str)
def test_every_version_is_read(version):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, NUMBERS, version, allow_pickle=False)

    np.testing.assert_array_equal(FLOATS.decode([buffer.getvalue()]).samples, [NUMBERS])


def test_an_array_in_fortran_order_is_the_same_array():
    value = npy(np.asfortranarray(NUMBERS))
    assert b"'fortran_order': True" in value

    np.testing.assert_array_equal(FLOATS.decode([value]).samples, [NUMBERS])


@pytest.mark.parametrize("keys", [*permutations(["'descr':'<f4'", '"fortran_order" : False', "'shape':( 2,3, )"])])
def test_keys_may_have_any_order(keys):
    value = npy_with("{ " + " , ".join(keys) + "}")

    np.testing.assert_array_equal(FLOATS.decode([value]).samples, [NUMBERS])


@pytest.mark.parametrize("order", ["|", "<"])
def test_single_bytes_have_no_byte_order(order):
    value = npy_with(f"{{'descr': '{order}u1', 'fortran_order': False, 'shape': (3,)}}", b"\1\2\3")

    assert NpyCodec(shape=(3,)).decode([value]).samples.tolist() == [[1, 2, 3]]


def test_a_refusal_names_the_header_s_shape_and_dtype():
    errors = [
        refusal.error
        for refusal in FLOATS.decode([npy(NUMBERS.T.copy()), npy(NUMBERS.astype("<f8"))]).refusals.values()
    ]

    assert errors == [
        "The array's header says shape (3, 2) and the format (2, 3).",
        "The array's header says dtype '<f8' and the format '<f4'.",
    ]
