"""WebP images, lossy and lossless, are decoded whatever else the file contains; animations are refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from include.codecs.webp import WebpCodec
from tests.support.corpus import LOSSY_FRAME, LOSSY_WEBP, WHOLE_WEBP, riff, saved, see_through, slope, webp_header
from tests.support.no_warnings import no_warnings

COLOUR = WebpCodec(height=8, width=6)

METADATA = {
    "profile": (0x20, (b"ICCP", bytes(200_000))),
    "EXIF": (0x08, (b"EXIF", b"no EXIF at all")),
    "XMP": (0x04, (b"XMP ", b"<no XML")),
    "unknown": (0, (b"prIv", b"odd length")),
}


def test_a_lossy_image_is_decoded_as_pillow_does():
    (sample,) = COLOUR.decode([LOSSY_WEBP]).samples

    np.testing.assert_array_equal(sample.transpose(1, 2, 0), np.asarray(Image.open(io.BytesIO(LOSSY_WEBP))))


@no_warnings
@pytest.mark.parametrize("name", METADATA)
def test_metadata_is_not_parsed(name):
    flags, chunk = METADATA[name]
    value = riff(webp_header(6, 8, flags), chunk, LOSSY_FRAME, chunk)

    decoded = COLOUR.decode([value, LOSSY_WEBP])

    assert decoded.refusals == {}
    np.testing.assert_array_equal(*decoded.samples)


def test_bytes_after_the_end_are_ignored():
    assert COLOUR.decode([WHOLE_WEBP + b"\r\n"]).refusals == {}


@pytest.mark.parametrize("settings", [{"lossless": True}, {}, {"exact": True}], ids=["lossless", "lossy", "alpha"])
def test_an_image_that_is_cut_short_anywhere_is_refused(settings):
    whole = saved(see_through(6, 8) if "exact" in settings else slope("RGB", 6, 8), "WEBP", **settings)

    reasons = {COLOUR.decode([whole[:length]]).refusals[0].reason for length in range(1, len(whole))}

    assert reasons == {"undecodable"}


def test_a_gray_format_has_to_convert():
    with pytest.raises(ValidationError, match="every WebP image is in colour: set channels = 3, or colours"):
        WebpCodec(height=8, width=6, channels=1)


def test_gray_is_decoded_as_it_was_encoded():
    codec = WebpCodec(height=8, width=6, channels=1, colours="convert")
    sample = np.random.default_rng(0).integers(0, 256, codec.sample_shape, np.uint8)

    np.testing.assert_array_equal(codec.decode([codec.encode(sample)]).samples, [sample])


def test_the_pixels_to_decode_are_counted_before():
    resizing = COLOUR.model_copy(update={"height": 2, "width": 3, "resize": "crop"})

    assert [resizing.pixels(value) for value in (LOSSY_WEBP, LOSSY_WEBP[:-1], b"", None)] == [48, 0, 0, 0]
