"""PNG images are decoded as they were encoded or refused, whatever else the file contains."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from include.codecs.png import SIGNATURE, PngCodec
from tests.support.corpus import WHOLE_PNG, chunk, png_header, png_of, saved, slope
from tests.support.no_warnings import no_warnings

GRAY = PngCodec(height=8, width=6)
COLOUR = PngCodec(height=5, width=7, channels=3)

BOMB = zlib.compress(bytes(50_000_000), 9)
METADATA = {
    "zTXt": b"comment\0\0" + BOMB,
    "iTXt": b"comment\0\1\0\0\0" + BOMB,
    "iCCP": b"profile\0\0" + BOMB,
    "iCCP that Pillow fails at": b"",
    "acTL that Pillow warns of": bytes(8),
    "fcTL of another size": bytes(4) + (5).to_bytes(4, "big") * 2 + bytes(14),
    "tRNS that Pillow fails at": b"\0",
    "eXIf": b"no EXIF at all",
    "prIv": b"a private chunk",
}


def refusal_of(codec, value):
    (refusal,) = codec.decode([value]).refusals.values()
    return refusal


@pytest.mark.parametrize("codec", [GRAY, COLOUR], ids=["gray", "colour"])
def test_an_image_is_decoded_as_it_was_encoded(codec):
    sample = np.random.default_rng(0).integers(0, 256, codec.sample_shape, np.uint8)

    np.testing.assert_array_equal(codec.decode([codec.encode(sample)]).samples, [sample])


def test_pixels_become_numbers_from_0_to_1():
    inputs = GRAY.to_inputs(np.array([[[[0, 51, 255]]]], np.uint8))

    assert inputs.dtype == np.float32
    np.testing.assert_allclose(inputs, [[[[0.0, 0.2, 1.0]]]], rtol=1e-6)


@no_warnings
@pytest.mark.parametrize("name", METADATA)
def test_metadata_is_not_parsed(name):
    """Before the pixels and after them: Pillow reads both."""
    metadata = chunk(name[:4].encode(), METADATA[name])
    header_end, pixels_end = len(SIGNATURE) + 25, len(WHOLE_PNG) - 12
    value = WHOLE_PNG[:header_end] + metadata + WHOLE_PNG[header_end:pixels_end] + metadata + WHOLE_PNG[pixels_end:]

    decoded = GRAY.decode([value, WHOLE_PNG])

    assert decoded.refusals == {}
    np.testing.assert_array_equal(*decoded.samples)


def test_bytes_after_the_end_are_ignored():
    assert GRAY.decode([WHOLE_PNG + b"\r\n"]).refusals == {}


def test_a_chunk_that_no_reader_may_skip_is_refused():
    """Such as the one in the iPhone's own PNGs, which store pixels differently."""
    refusal = refusal_of(GRAY, png_of(png_header(6, 8), (b"CgBI", bytes(4)), (b"IEND", b"")))

    assert (refusal.reason, "b'CgBI'" in refusal.error) == ("undecodable", True)


@pytest.mark.parametrize("codec", [GRAY, COLOUR], ids=["gray", "colour"])
def test_an_image_that_is_cut_short_anywhere_is_refused(codec):
    whole = saved(slope("RGB" if codec.channels == 3 else "L", codec.width, codec.height), "PNG")

    reasons = {refusal_of(codec, whole[:length]).reason for length in range(1, len(whole))}

    assert reasons == {"undecodable"}


def test_a_flipped_bit_anywhere_is_refused():
    """A smooth image: most flips in its pixels pass zlib, and Pillow has no further check."""
    codec = PngCodec(height=28, width=28)
    whole = saved(slope("L", 28, 28), "PNG")

    reasons = set()
    for bit in range(len(whole) * 8):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        reasons.add(refusal_of(codec, bytes(changed)).reason)

    assert reasons == {"undecodable"}


def test_an_image_of_another_size_is_refused_with_both_sizes():
    assert refusal_of(GRAY, saved(slope("L", 8, 6), "PNG")).error == "The image has 8x6 pixels, the format 6x8."


def test_a_format_may_have_more_pixels_than_the_limit():
    codec = PngCodec(height=4001, width=4001)

    assert refusal_of(codec, png_of(png_header(4001, 4000), (b"IEND", b""))).reason == "wrong-size"
    assert refusal_of(codec, png_of(png_header(4001, 4002), (b"IEND", b""))).reason == "too-many-pixels"
