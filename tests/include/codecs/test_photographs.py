"""Photographs up to 100 megapixels become samples where the format resizes; other files have a limit that is said."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from include.codecs import record_values
from include.codecs._conversion import decoder_like
from include.codecs._image import PIXELS_PER_BYTE
from include.codecs.jpeg import MAX_SCALED_PIXELS, JpegCodec
from include.codecs.png import PngCodec
from include.codecs.webp import WebpCodec
from tests.support.corpus import jpeg_claiming, lossless_claiming, png_bomb, riff, saved

RESIZED = {"height": 60, "width": 80, "resize": "stretch"}


def photograph(width, height, **settings):
    """A smooth picture of one gray, which encodes in no time."""
    return saved(Image.linear_gradient("L").resize((width, height)), "JPEG", **settings)


def claiming(width, height, codec):
    """Why a photograph of these sides is refused; a header without pixels is damaged, if its size is accepted."""
    value = jpeg_claiming(width, height)
    # Fill bytes, which any marker may have before it: as many as a file of that size has at least.
    padded = value[:2] + b"\xff" * (width * height // PIXELS_PER_BYTE) + value[2:]
    return codec.decode([padded]).refusals[0]


@pytest.mark.parametrize(
    ("sides", "settings"), [((5712, 4284), {}), ((4284, 5712), {"progressive": True})], ids=["baseline", "progressive"]
)
def test_a_photograph_of_24_megapixels_is_resized(sides, settings):
    sample = JpegCodec(**RESIZED).decode([photograph(*sides, **settings)]).samples[0]

    expected = np.asarray(Image.linear_gradient("L").resize((80, 60), Image.Resampling.LANCZOS)).astype(int)
    assert np.abs(sample[0] - expected).mean() < 2


def test_a_photograph_is_converted_to_a_lossless_format_too():
    (value,) = record_values(PngCodec(**RESIZED), [photograph(5712, 4284)])

    assert PngCodec(**RESIZED).decode([value]).samples.shape == (1, 1, 60, 80)


@pytest.mark.parametrize(
    ("width", "height", "settings", "reason"),
    [
        (10_000, 10_000, {}, "undecodable"),
        (10_000, 10_001, {}, "too-many-pixels"),
        (11_600, 8700, {"resize": None}, "too-many-pixels"),
        (8000, 6000, {"width": 3000, "height": 2000}, "undecodable"),
        # So much of it would be decoded that it is no fraction any more.
        (8000, 6000, {"width": 5000, "height": 5000}, "too-many-pixels"),
        (5000, 5000, {"width": 5000, "height": 5000}, "undecodable"),
    ],
)
def test_the_limit_is_of_what_is_decoded(width, height, settings, reason):
    codec = JpegCodec(**{**RESIZED, "channels": 3, "resize": "crop", **settings})

    refusal = claiming(width, height, codec)

    assert refusal.reason == reason, refusal


def test_a_format_that_does_not_resize_says_that_it_could():
    refusal = claiming(5712, 4284, JpegCodec(height=60, width=80))

    assert "at most 16000000" in refusal.error
    assert "with resize in [format]" in refusal.error


@pytest.mark.parametrize(
    ("codec", "value"),
    [
        (PngCodec(**RESIZED), png_bomb(5712, 4284, depth=8)),
        (WebpCodec(**RESIZED), riff((b"VP8L", lossless_claiming(5712, 4284)[1] + bytes(20_000)))),
    ],
    ids=["PNG", "WebP"],
)
def test_formats_without_fractions_say_their_limit(codec, value):
    refusal = codec.decode([value]).refusals[0]

    assert refusal.reason == "too-many-pixels"
    assert "at most 16000000, and 65535 in a row or column, are decoded of " in refusal.error
    assert f"bytes of {codec.pillow_format}: save it with fewer pixels" in refusal.error


EQUAL = Image.new("RGB", (4000, 4000))


@pytest.mark.parametrize("name", ["PNG", "WEBP", "GIF"])
def test_a_few_bytes_are_not_worth_millions_of_pixels(name):
    """A WebP of 678 bytes took 0.4 s and 200 MB, a megabyte of them ten minutes."""
    image = EQUAL.convert("1") if name == "PNG" else EQUAL
    value = saved(image, name, **({"lossless": True} if name == "WEBP" else {}))
    codec = decoder_like(PngCodec(**RESIZED, colours="convert"), name)

    refusal = codec.decode([value]).refusals[0]

    assert refusal.reason == "too-many-pixels"
    assert f"4000x4000 pixels and at most {max(16 * 80 * 60, 1050 * len(value))}" in refusal.error


def test_a_few_bytes_are_worth_what_the_format_needs():
    value = saved(EQUAL.resize((2000, 2000)), "WEBP", lossless=True)
    codec = WebpCodec(height=500, width=500, resize="stretch")

    assert len(value) * PIXELS_PER_BYTE < 2000 * 2000
    assert codec.decode([value]).samples.shape == (1, 3, 500, 500)


def test_the_emptiest_png_of_eight_bits_is_decoded():
    codec = PngCodec(**RESIZED)

    assert codec.decode([png_bomb(4000, 4000, depth=8)]).samples.shape == (1, 1, 60, 80)


def test_a_jpeg_that_claims_more_than_its_bytes_can_hold_is_not_decoded():
    """Of a progressive one with 519 bytes, 600 MB were allocated, and the claim found wrong 0.4 s later."""
    codec = JpegCodec(height=500, width=500, channels=3, resize="crop")

    assert codec.decode([jpeg_claiming(10_000, 10_000)]).refusals[0].reason == "too-many-pixels"


def test_many_scans_of_a_large_image_are_refused():
    """Each costs as much as decoding the whole image, and a scan may have no byte of its own."""
    whole = saved(Image.linear_gradient("L"), "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    frame = whole.index(b"\xff\xc2")
    sides = (10_000).to_bytes(2, "big") * 2
    bomb = whole[: frame + 5] + sides + whole[frame + 9 : -2] + whole[last:-2] * 20 + b"\xff\xd9"

    refusal = JpegCodec(**RESIZED).decode([bomb]).refusals[0]

    assert (refusal.reason, "scans" in refusal.error) == ("too-many-pixels", True)
    assert MAX_SCALED_PIXELS == 10_000 * 10_000
