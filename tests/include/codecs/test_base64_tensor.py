"""Arrays from base64 text: only the canonical text is accepted."""

from __future__ import annotations

import base64
import string

import numpy as np
import pytest

from include.codecs.base64_tensor import Base64Codec


@pytest.mark.parametrize("size", [1, 2, 3, 4], ids="{} bytes".format)
def test_the_standard_text_is_written_and_read(size):
    codec = Base64Codec(shape=(size,))
    sample = np.arange(size, dtype=np.uint8)

    value = codec.encode(sample)

    assert value == base64.b64encode(sample.tobytes())
    assert codec.decode([value]).samples.tolist() == [sample.tolist()]


def test_only_canonical_text_is_accepted():
    """Python's own decoder accepts all 4096 pairs of characters for one byte."""
    codec = Base64Codec(shape=(1,))
    alphabet = string.ascii_letters + string.digits + "+/"
    texts = [f"{first}{second}==".encode() for first in alphabet for second in alphabet]

    decoded = codec.decode(texts)

    assert sorted(decoded.samples[:, 0].tolist()) == list(range(256))
    assert {refusal.reason for refusal in decoded.refusals.values()} == {"invalid-base64"}


def test_text_of_another_size_is_refused_with_both_sizes():
    (refusal,) = Base64Codec(shape=(6,)).decode([b"AAAA"]).refusals.values()

    assert refusal.error == "4 characters of base64 are not the text of an array: uint8 of shape (6,) takes 6."
