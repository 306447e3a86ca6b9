"""Images of 16 bits a channel keep the levels of the bits that their values have, or are refused."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from include.codecs import record_values
from include.codecs.jpeg import JpegCodec
from include.codecs.png import PngCodec
from tests.support.corpus import png_header, png_of, saved

WIDTH, HEIGHT = 64, 48
CHANNELS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}
COLOUR_TYPES = {"L": 0, "LA": 4, "RGB": 2, "RGBA": 6}


def values(mode="L", most=4095, seed=3):
    """Every level up to `most`, uint16 (height, width, channels); alpha is opaque."""
    count = CHANNELS[mode]
    drawn = np.random.default_rng(seed).integers(0, most, (HEIGHT, WIDTH, count), np.uint16, endpoint=True)
    drawn[0, 0] = most
    if mode.endswith("A"):
        drawn[..., -1] = 65535
    return drawn


def deep_png(array, mode="L"):
    """A PNG of 16 bits a channel, which Pillow writes for gray only."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    header = png_header(array.shape[1], array.shape[0], 16, COLOUR_TYPES[mode])
    return png_of(header, (b"IDAT", zlib.compress(rows)), (b"IEND", b""))


def deep_tiff(array, order="<"):
    """An uncompressed TIFF of 16 bits a channel, gray or RGB, in one strip."""
    height, width, channels = array.shape
    pixels = array.astype(f"{order}u2").tobytes()
    bits_at = 8 + len(pixels)
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, channels, 16 if channels == 1 else bits_at),
        (259, 3, 1, 1),
        (262, 3, 1, 1 if channels == 1 else 2),
        (273, 4, 1, 8),
        (277, 3, 1, channels),
        (278, 4, 1, height),
        (279, 4, 1, len(pixels)),
        (284, 3, 1, 1),
    ]

    def number(value, size):
        return int(value).to_bytes(size, "little" if order == "<" else "big")

    def entry(tag, kind, count, value):
        content = number(value, 2) + bytes(2) if kind == 3 and count == 1 else number(value, 4)
        return number(tag, 2) + number(kind, 2) + number(count, 4) + content

    directory = number(len(tags), 2) + b"".join(entry(*tag) for tag in tags) + bytes(4)
    start = (b"II*\0" if order == "<" else b"MM\0*") + number(bits_at + 8, 4)
    return start + pixels + number(16, 2) * channels + bytes(8 - 2 * channels) + directory


def codec(mode="L", **settings):
    return PngCodec(height=HEIGHT, width=WIDTH, channels=1 if mode.startswith("L") else 3, **settings)


def sample_of(codec, content):
    (value,) = record_values(codec, [content])
    assert isinstance(value, bytes), value
    return codec.decode([value]).samples[0]


FILES = {
    "PNG, gray": (deep_png, "L"),
    "PNG, RGB": (lambda array: deep_png(array, "RGB"), "RGB"),
    "TIFF, gray": (deep_tiff, "L"),
    "TIFF, RGB": (deep_tiff, "RGB"),
    "TIFF, gray, big-endian": (lambda array: deep_tiff(array, ">"), "L"),
    "TIFF, RGB, big-endian": (lambda array: deep_tiff(array, ">"), "RGB"),
    "TIFF, gray, compressed": (
        lambda array: saved(Image.fromarray(array[..., 0]), "TIFF", compression="tiff_adobe_deflate"),
        "L",
    ),
}


@pytest.mark.parametrize(("file", "mode"), FILES.values(), ids=FILES)
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_values_are_scaled_by_their_bits(file, mode, bits):
    array = values(mode, 2**bits - 1)

    sample = sample_of(codec(mode, bits=bits), file(array))

    np.testing.assert_array_equal(sample.transpose(1, 2, 0), array >> (bits - 8))
    assert len(np.unique(sample)) == 256


@pytest.mark.parametrize(("file", "mode"), FILES.values(), ids=FILES)
def test_values_that_8_of_16_bits_would_lose_are_refused_with_the_setting(file, mode):
    (refusal,) = record_values(codec(mode, colours="convert"), [file(values(mode))])

    assert refusal.reason == "wrong-depth"
    for said in ("4095", "16 levels", "bits = 12 in [format]", "or 16 where"):
        assert said in refusal.error


@pytest.mark.parametrize(("file", "mode"), FILES.values(), ids=FILES)
def test_values_beyond_their_bits_are_refused(file, mode):
    (refusal,) = record_values(codec(mode, bits=12), [file(values(mode, 4096))])

    assert (refusal.reason, "4096" in refusal.error, "4095" in refusal.error) == ("wrong-depth", True, True)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_whole_16_bit_image_needs_no_setting_and_a_dark_one_has_one(mode):
    bright, dark = values(mode, 65535), values(mode, 300)

    sample = sample_of(codec(mode, colours="convert"), deep_png(bright, mode))
    np.testing.assert_array_equal(sample.transpose(1, 2, 0), bright >> 8)
    sample = sample_of(codec(mode, bits=16), deep_png(dark, mode))
    np.testing.assert_array_equal(sample.transpose(1, 2, 0), dark >> 8)


def test_a_black_image_has_no_levels_to_lose():
    black = np.zeros((HEIGHT, WIDTH, 1), np.uint16)

    assert not sample_of(codec(colours="convert"), deep_png(black)).any()


def test_without_bits_or_conversion_a_gray_format_refuses_16_bits():
    assert codec().decode([deep_png(values(most=65535))]).refusals[0].reason == "wrong-channels"


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize("opaque", [4095, 65535])
def test_alpha_has_16_bits_or_those_of_the_colours(mode, opaque):
    array = values(mode)
    array[..., -1] = opaque
    array[5, :, -1] = 0

    sample = sample_of(codec(mode, bits=12, colours="convert"), deep_png(array, mode)).transpose(1, 2, 0)

    visible = np.delete(array[..., :-1] >> 4, 5, axis=0).astype(int)
    assert np.abs(np.delete(sample, 5, axis=0) - visible).max() <= 1
    assert (sample[5] == 255).all(), "transparent pixels are white"


def test_a_deep_image_becomes_a_jpeg_with_its_levels():
    array = np.broadcast_to(np.linspace(0, 4095, WIDTH).astype(np.uint16)[:, None], (HEIGHT, WIDTH, 1))

    sample = sample_of(JpegCodec(height=HEIGHT, width=WIDTH, bits=12), deep_png(array))

    assert np.abs(sample[0].astype(int) - (array[..., 0] >> 4)).max() <= 4


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_numbers_of_unknown_range_are_refused(dtype):
    """Pillow would cut them off at 255."""
    image = Image.fromarray(np.full((HEIGHT, WIDTH), 300, dtype))

    (refusal,) = record_values(codec(colours="convert"), [saved(image, "TIFF")])

    assert (refusal.reason, "unknown range" in refusal.error) == ("wrong-channels", True)


def test_a_large_image_is_scaled_in_parts(monkeypatch):
    monkeypatch.setattr("include.codecs._depth.PART", 5 * WIDTH)
    array = values("RGB")

    sample = sample_of(codec("RGB", bits=12), deep_png(array, "RGB"))

    np.testing.assert_array_equal(sample.transpose(1, 2, 0), array >> 4)


def test_the_files_of_these_tests_are_those_of_pillow():
    array = values("L", 65535)

    for content in (deep_png(array), deep_tiff(array), deep_tiff(array, ">")):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), array[..., 0])
