"""Images of any orientation, size and colours are converted to a format that allows it."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from pydantic import ValidationError

from include.codecs._exif import orientation_of
from include.codecs.jpeg import JpegCodec
from include.codecs.png import PngCodec
from include.codecs.webp import WebpCodec
from tests.support.corpus import jpeg_claiming, lossless_claiming, png_header, png_of, riff, saved, see_through

CODECS = {"PNG": PngCodec, "JPEG": JpegCodec, "WEBP": WebpCodec}
every_format = pytest.mark.parametrize("name", CODECS)


def sample_of(codec, value):
    decoded = codec.decode([value])
    assert decoded.refusals == {}
    return decoded.samples[0]


def refusal_of(codec, value):
    (refusal,) = codec.decode([value]).refusals.values()
    return refusal


def corners(sample):
    """Red, green and blue at the four corners, row by row from the upper left."""
    return [sample[:, row, column].tolist() for row in (0, -1) for column in (0, -1)]


def picture(width, height):
    """Smooth, with a different colour in each corner, so that every rotation and every part is unique."""
    four = Image.fromarray(np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8))
    return four.resize((width, height), Image.Resampling.BILINEAR)


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@every_format
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_rotated_upright(name, orientation):
    """The format's size is that of the rotated picture."""
    value = saved(picture(24, 16), name, exif=turned(orientation), **({"lossless": True} if name == "WEBP" else {}))
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(value)))
    codec = CODECS[name](width=expected.width, height=expected.height, channels=3)

    np.testing.assert_array_equal(sample_of(codec, value).transpose(1, 2, 0), np.asarray(expected.convert("RGB")))


def test_a_picture_with_the_format_s_size_before_rotation_is_refused():
    value = saved(picture(24, 16), "JPEG", exif=turned(6))

    assert refusal_of(JpegCodec(width=24, height=16, channels=3), value).error == (
        "The image has 16x24 pixels, the format 24x16."
    )


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\xff\xff",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x09\0\0\0",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x04\0\x01\0\0\0\x06\0\0\0",
        b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x02\0\x06\0\0",
    ],
    ids=["nothing", "no directory", "directory far away", "cut", "no value", "orientation 9", "a long", "two values"],
)
def test_an_invalid_orientation_is_ignored(exif):
    assert orientation_of(exif) == 1


@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
@pytest.mark.parametrize(
    "exif",
    [
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0",
        b"MM\0*\0\0\0\x08\0\x02\x01\x0f\0\x02\0\0\0\x02\0\0\0\0\x01\x12\0\x03\0\0\0\x01\0\x06\0\0",
    ],
    ids=["little-endian", "big-endian, the second entry"],
)
def test_the_orientation_is_read(prefix, exif):
    assert orientation_of(prefix + exif) == 6


@every_format
@pytest.mark.parametrize("way", ["stretch", "crop", "pad"])
@pytest.mark.parametrize(("width", "height"), [(16, 12), (40, 7), (3, 300), (1, 1), (2000, 1500)])
def test_any_size_is_resized_to_the_format_s(name, way, width, height):
    codec = CODECS[name](width=16, height=12, channels=3, resize=way)

    assert sample_of(codec, saved(picture(width, height), name)).shape == (3, 12, 16)


def test_stretching_keeps_the_corners():
    codec = PngCodec(width=16, height=12, channels=3, resize="stretch")

    sample = sample_of(codec, saved(picture(300, 40), "PNG"))

    assert np.abs(np.array(corners(sample)) - corners(np.asarray(picture(16, 12)).transpose(2, 0, 1))).max() < 30


def test_cropping_keeps_the_middle():
    image = Image.new("RGB", (300, 100), "red")
    image.paste("blue", (100, 0, 200, 100))

    sample = sample_of(PngCodec(width=10, height=10, channels=3, resize="crop"), saved(image, "PNG"))

    assert sample[2].min() > 220, "but for what the filter takes in at the edges"
    assert sample[0, :, 2:-2].max() < 20


def test_padding_keeps_the_whole_image_and_adds_black():
    sample = sample_of(
        PngCodec(width=12, height=12, channels=3, resize="pad"), saved(Image.new("RGB", (30, 10), "red"), "PNG")
    )

    assert (sample[0] == 255).sum(axis=0).tolist() == [4] * 12
    assert sample[:, :4].max() == sample[:, 8:].max() == 0


def test_a_picture_is_rotated_before_it_is_resized():
    value = saved(picture(64, 16), "JPEG", exif=turned(6), quality=95)

    sample = sample_of(JpegCodec(width=8, height=32, channels=3, resize="stretch"), value)

    expected = np.asarray(
        picture(64, 16).transpose(Image.Transpose.ROTATE_270).resize((8, 32), Image.Resampling.LANCZOS)
    )
    assert np.abs(sample.transpose(1, 2, 0).astype(int) - expected).mean() < 6


def test_a_large_photograph_decoded_at_a_fraction_of_its_size_is_resized_equally_well():
    """The decoder omits frequencies that the filter would remove."""
    noise = Image.effect_noise((64, 48), 60).resize((2048, 1536), Image.Resampling.BICUBIC)
    value = saved(noise, "JPEG", quality=95)

    sample = sample_of(JpegCodec(width=64, height=48, resize="stretch"), value)

    expected = np.asarray(noise.resize((64, 48), Image.Resampling.LANCZOS)).astype(int)
    assert np.abs(sample[0] - expected).mean() < 1.5


CLAIMING = {
    "PNG": png_of(png_header(4001, 4000), (b"IDAT", b""), (b"IEND", b"")),
    "JPEG": jpeg_claiming(10_001, 10_000),
    "WEBP": riff(lossless_claiming(4001, 4000)),
}


@every_format
@pytest.mark.parametrize("way", ["stretch", "crop", "pad"])
def test_the_limit_of_pixels_holds(name, way):
    codec = CODECS[name](width=16, height=12, channels=3, resize=way)

    assert refusal_of(codec, CLAIMING[name]).reason == "too-many-pixels"


MODES = {
    "PNG": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"],
    "JPEG": ["L", "RGB", "CMYK"],
    "WEBP": ["RGB", "RGBA"],
}


@pytest.mark.parametrize(("name", "mode"), [(name, mode) for name, modes in MODES.items() for mode in modes])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_colours_are_converted_to_the_format_s(name, mode, channels):
    """A middle gray keeps its value in every mode."""
    gray = Image.new("L", (8, 8), 120 if mode != "1" else 255)
    image = Image.fromarray(np.full((8, 8), 120 * 257, np.uint16)) if mode == "I;16" else gray.convert(mode)
    codec = CODECS[name](width=8, height=8, channels=channels, colours="convert")

    sample = sample_of(codec, saved(image, name))

    assert sample.shape == (channels, 8, 8)
    assert np.abs(sample.astype(int) - np.asarray(gray)).max() <= 3


@pytest.mark.parametrize("name", ["PNG", "WEBP"])
def test_transparent_pixels_become_white(name):
    value = saved(see_through(64, 64), name, **({"lossless": True, "exact": True} if name == "WEBP" else {}))

    sample = sample_of(CODECS[name](width=64, height=64, channels=3, colours="convert"), value)

    assert corners(sample)[0] == [255, 255, 255]
    assert sample[0].min() == 255
    assert (np.diff(sample[1, 0].astype(int)) <= 0).all(), "the more opaque, the redder"


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_the_transparent_colour_becomes_white(mode):
    black = Image.new(mode, (8, 8), 0)
    value = saved(black, "PNG", transparency=(0, 0, 0) if mode == "RGB" else 0)

    assert (sample_of(PngCodec(width=8, height=8, channels=3, colours="convert"), value) == 255).all()


def test_a_palette_that_is_missing_is_refused():
    value = png_of(png_header(8, 8, 8, 3), (b"IDAT", zlib.compress(bytes(72))), (b"IEND", b""))

    assert refusal_of(PngCodec(width=8, height=8, channels=3, colours="convert"), value).reason == "undecodable"


def test_inputs_are_normalised_by_channel():
    codec = PngCodec(height=1, width=2, channels=3, mean=(0.5, 0.4, 0.3), std=(0.5, 0.2, 0.1))
    pixels = np.array([[[0, 255]], [[51, 102]], [[153, 204]]], np.uint8)

    inputs = codec.to_inputs(pixels[None])

    assert inputs.dtype == np.float32
    np.testing.assert_allclose(inputs[0, :, 0], [[-1, 1], [-1, 0], [3, 5]], atol=1e-5)


@pytest.mark.parametrize("side", [8, 200])
@pytest.mark.parametrize(
    "settings", [{}, {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}], ids=["plain", "normalised"]
)
def test_inputs_are_the_same_for_small_and_large_images(side, settings):
    codec = PngCodec(height=side, width=side, channels=3, **settings)
    samples = np.random.default_rng(0).integers(0, 256, (3, *codec.sample_shape), np.uint8)
    mean, std = (np.reshape(settings.get(name, default), (-1, 1, 1)) for name, default in (("mean", 0), ("std", 1)))

    inputs = codec.to_inputs(samples.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2))

    np.testing.assert_allclose(inputs, (samples / 255 - mean) / std, atol=1e-5)
    assert inputs.flags.c_contiguous, "for a network that takes a view of them"
    for layout in (samples, samples.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)):
        batch = torch.from_numpy(codec.for_device(layout))
        assert batch.dtype == torch.uint8
        # `scaled` is what happens on a GPU.
        for found in (codec.on_device(batch), codec.scaled(batch)):
            assert torch.equal(found, torch.from_numpy(inputs)), "bit for bit"
            assert found.is_contiguous()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mean": [0.5], "std": [0.5]}, "1 numbers for 3 channels: give one for each"),
        ({"mean": [0.5] * 3, "std": [0.5]}, "1 numbers for 3 channels"),
        ({"mean": [0.5] * 3}, "mean and std belong together"),
        ({"std": [0.5] * 3}, "mean and std belong together"),
        ({"mean": [123.7] * 3, "std": [0.5] * 3}, "less than or equal to 1"),
        ({"mean": [0.5] * 3, "std": [0.0] * 3}, "greater than or equal to"),
        ({"mean": [float("nan")] * 3, "std": [0.5] * 3}, "a finite number"),
        ({"resize": "fit"}, "'stretch', 'crop' or 'pad'"),
        ({"colours": "any"}, "'convert'"),
    ],
)
def test_invalid_settings_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        PngCodec(height=8, width=8, channels=3, **settings)
