"""JPEG images are decoded nearly as they were encoded; files that are cut short or not JPEG are refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from include.codecs import jpeg
from include.codecs.jpeg import JpegCodec
from tests.support.corpus import SCAN, WHOLE_JPEG, flipped, saved, slope
from tests.support.no_warnings import no_warnings

GRAY = JpegCodec(height=16, width=24)
COLOUR = JpegCodec(height=16, width=24, channels=3)


@pytest.fixture(autouse=True, params=["C", "Python"])
def _check_in(request, monkeypatch):
    """The tests are of the check in C with the one in Python behind it, and of the latter alone."""
    if request.param == "Python":
        monkeypatch.setattr(jpeg, "_is_plain", lambda: None)


@pytest.mark.parametrize(("codec", "mode"), [(GRAY, "L"), (COLOUR, "RGB")], ids=["gray", "colour"])
def test_an_image_is_decoded_nearly_as_it_was_encoded(codec, mode):
    pixels = np.asarray(slope(mode, 24, 16)).reshape(16, 24, -1).transpose(2, 0, 1)

    decoded = codec.decode([codec.encode(pixels)])

    assert (decoded.samples.dtype, decoded.samples.shape) == (np.uint8, (1, *codec.sample_shape))
    assert np.abs(decoded.samples[0].astype(int) - pixels).max() <= 3


@no_warnings
@pytest.mark.parametrize(
    "settings",
    [
        {"progressive": True},
        {"restart_marker_blocks": 1},
        {"exif": b"Exif\0\0no EXIF at all"},
        {"comment": b"\xff\xd9 not the end"},
        {"icc_profile": bytes(200_000)},
        {"extra": b"\xff\xe2\x00\x0aMPF\0MM\0*"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_pixels_are_the_same_in_any_valid_file(settings):
    """With other scans, restart markers, and metadata at which Pillow fails."""
    value = saved(slope("RGB", 24, 16), "JPEG", **settings)

    decoded = COLOUR.decode([value, WHOLE_JPEG])

    assert decoded.refusals == {}
    np.testing.assert_array_equal(*decoded.samples)


def test_padding_before_markers_and_bytes_after_the_end_are_accepted():
    value = WHOLE_JPEG.replace(b"\xff\xda", b"\xff\xff\xff\xda") + b"\r\n"

    assert COLOUR.decode([value]).refusals == {}


def test_a_rare_chroma_subsampling_is_decoded():
    """4:1:0, which the fast decoder does not support; a gray image is the same in every subsampling."""
    gray = Image.new("RGB", (24, 16), (128, 128, 128))
    value = saved(gray, "JPEG", optimize=True, subsampling="4:2:0")
    ratio = value.index(b"\xff\xc0") + 11
    assert value[ratio] == 0x22

    decoded = COLOUR.decode([value[:ratio] + b"\x42" + value[ratio + 1 :]])

    assert decoded.refusals == {}
    assert (decoded.samples == 128).all()


def replaced(value, byte, by):
    return value[:byte] + bytes([by]) + value[byte + 1 :]


SCAN_LENGTH = int.from_bytes(WHOLE_JPEG[SCAN + 2 : SCAN + 4], "big")


@pytest.mark.parametrize(
    "value",
    [
        replaced(WHOLE_JPEG, WHOLE_JPEG.index(b"JFIF") + 5, 3),
        replaced(WHOLE_JPEG, SCAN + SCAN_LENGTH, 0),
    ],
    ids=["an unknown revision of JFIF", "wrong frequencies of a scan"],
)
def test_unusual_headers_of_complete_pixels_are_accepted(value):
    decoded = COLOUR.decode([value, WHOLE_JPEG])

    assert decoded.refusals == {}
    np.testing.assert_array_equal(*decoded.samples)


def test_pixels_are_those_of_pillow():
    """Pillow is the reference decoder of most data sets."""
    pixels = np.random.default_rng(0).integers(0, 256, COLOUR.sample_shape, np.uint8)
    value = saved(Image.fromarray(pixels.transpose(1, 2, 0)), "JPEG", quality=80)

    (sample,) = COLOUR.decode([value]).samples

    np.testing.assert_array_equal(sample.transpose(1, 2, 0), np.asarray(Image.open(io.BytesIO(value))))


def test_damage_that_causes_only_a_decoder_s_warning_is_refused():
    """Stray bytes between the pixels, which Pillow skips."""
    value = WHOLE_JPEG[:-2] + b"\x55" * 9 + WHOLE_JPEG[-2:]

    (refusal,) = COLOUR.decode([value]).refusals.values()

    assert refusal.reason == "undecodable"


@pytest.mark.parametrize("settings", [{}, {"progressive": True}, {"restart_marker_blocks": 1}], ids=str)
def test_an_image_that_is_cut_short_anywhere_is_refused(settings):
    whole = saved(slope("RGB", 24, 16), "JPEG", **settings)

    reasons = {COLOUR.decode([whole[:length]]).refusals[0].reason for length in range(1, len(whole))}

    assert reasons == {"undecodable"}


def test_a_flipped_bit_in_the_structure_is_always_detected():
    """JPEG has no checksums: with a flipped bit in tables or pixels, other pixels may be decoded."""
    structure = [byte for byte in range(len(WHOLE_JPEG) - 1) if WHOLE_JPEG[byte] == 0xFF and WHOLE_JPEG[byte + 1]]

    for byte in structure:
        for bit in range(8):
            assert COLOUR.decode([flipped(WHOLE_JPEG, byte, bit)]).refusals, (byte, bit)
