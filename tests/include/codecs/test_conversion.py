"""Images of any file format become values of the pipeline's format; what a file is shows in its first bytes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from include.codecs import decoder_like, record_values
from include.codecs.jpeg import JpegCodec
from include.codecs.png import PngCodec
from include.codecs.utf8 import Utf8Codec
from include.codecs.webp import WebpCodec
from tests.support.corpus import HTML, saved, see_through, slope

GRAY = PngCodec(height=8, width=6)
COLOUR = PngCodec(height=48, width=64, channels=3)


def colourful(width=64, height=48, seed=1):
    """Smooth colours, which a JPEG nearly keeps."""
    four = np.random.default_rng(seed).integers(0, 256, (2, 2, 3), np.uint8)
    return Image.fromarray(four).resize((width, height), Image.Resampling.BILINEAR)


def sample_of(codec, content):
    (value,) = record_values(codec, [content])
    assert isinstance(value, bytes), value
    return codec.decode([value]).samples[0]


def refusal_of(codec, content):
    (refusal,) = record_values(codec, [content])
    return refusal


LOSSLESS = {
    "PNG": {},
    "WEBP": {"lossless": True},
    "BMP": {},
    "TIFF": {},
    "TIFF of a scanner": {"compression": "tiff_lzw"},
}


@pytest.mark.parametrize("codec", [COLOUR, WebpCodec(**COLOUR.model_dump(exclude={"kind"}))], ids=["PNG", "WebP"])
@pytest.mark.parametrize("name", LOSSLESS)
def test_any_image_becomes_one_of_a_lossless_format_without_loss(codec, name):
    image = colourful()

    sample = sample_of(codec, saved(image, name.split()[0], **LOSSLESS[name]))

    np.testing.assert_array_equal(sample.transpose(1, 2, 0), np.asarray(image))


@pytest.mark.parametrize("name", ["JPEG", "MPO"])
def test_a_jpeg_becomes_a_png_with_the_pixels_that_it_is_decoded_to(name):
    second = {"save_all": True, "append_images": [colourful(seed=2)]} if name == "MPO" else {}
    content = saved(colourful(), name, **second)

    expected = decoder_like(COLOUR, "JPEG").decode([content]).samples[0]

    np.testing.assert_array_equal(sample_of(COLOUR, content), expected)


def test_a_png_becomes_a_jpeg_of_the_stated_quality():
    image = colourful()

    (value,) = record_values(JpegCodec(height=48, width=64, channels=3), [saved(image, "PNG")])

    expected = saved(image, "JPEG", quality=95, subsampling="4:4:4")
    assert Image.open(io.BytesIO(value)).quantization == Image.open(io.BytesIO(expected)).quantization
    assert np.abs(np.asarray(Image.open(io.BytesIO(value))).astype(int) - np.asarray(image)).max() <= 4


@pytest.mark.parametrize("name", ["JPEG", "MPO"])
def test_an_image_of_the_format_is_its_own_value(name):
    """A phone's JPEG with a preview image behind it is one too."""
    second = {"save_all": True, "append_images": [colourful(seed=2)]} if name == "MPO" else {}
    content = saved(colourful(), name, **second)

    assert record_values(JpegCodec(height=48, width=64, channels=3), [content]) == [content]


def test_the_first_frame_of_a_gif_counts():
    frames = [Image.new("L", (6, 8), level) for level in (40, 200)]

    sample = sample_of(GRAY, saved(frames[0], "GIF", save_all=True, append_images=frames[1:]))

    assert (sample == 40).all()


def test_a_tiff_of_several_pages_is_refused_and_one_with_its_preview_is_not():
    page, other = slope("L", 6, 8), slope("L", 6, 8).rotate(180)
    preview = other.copy()
    preview.encoderinfo = {"tiffinfo": {254: 1}}

    assert refusal_of(GRAY, saved(page, "TIFF", save_all=True, append_images=[other])).reason == "animated"
    np.testing.assert_array_equal(
        sample_of(GRAY, saved(page, "TIFF", save_all=True, append_images=[preview]))[0], np.asarray(page)
    )


def test_the_preview_of_a_camera_s_raw_file_is_no_sample():
    """Such a file is a TIFF whose first page is a small image."""
    refusal = refusal_of(GRAY, saved(slope("L", 6, 8), "TIFF", tiffinfo={254: 1}))

    assert (refusal.reason, "raw files of cameras" in refusal.error) == ("undecodable", True)


@pytest.mark.parametrize("name", ["TIFF", "PNG", "JPEG"])
def test_a_picture_is_rotated_upright_before_it_is_converted(name):
    exif = Image.Exif()
    exif[0x0112] = 6
    codec = WebpCodec(height=64, width=48, channels=3)

    sample = sample_of(codec, saved(colourful(), name, exif=exif))

    expected = np.asarray(colourful().transpose(Image.Transpose.ROTATE_270)).astype(int)
    assert np.abs(sample.transpose(1, 2, 0) - expected).max() <= (16 if name == "JPEG" else 0)


@pytest.mark.parametrize("name", ["PNG", "TIFF", "WEBP", "GIF", "BMP", "JPEG"])
def test_sizes_and_colours_are_converted_where_the_format_says_so_and_refused_elsewhere(name):
    content = saved(colourful() if name in ("JPEG", "BMP") else see_through(64, 48), name)
    strict = WebpCodec(height=48, width=48, channels=3) if name != "WEBP" else COLOUR.model_copy(update={"width": 48})
    any_image = strict.model_copy(update={"resize": "crop", "colours": "convert"})

    assert sample_of(any_image, content).shape == (3, 48, 48)
    assert refusal_of(strict, content).reason == "wrong-size"
    if name in ("PNG", "TIFF", "WEBP"):
        assert refusal_of(strict.model_copy(update={"width": 64}), content).reason == "wrong-channels"


def test_contents_keep_their_places():
    contents = [
        saved(slope("L", 6, 8), "PNG"),
        HTML,
        saved(slope("L", 6, 8), "BMP"),
        b"",
        saved(slope("L", 6, 9), "GIF"),
    ]

    values = record_values(GRAY, contents)

    assert values[0] == contents[0]
    assert values[2] == GRAY.encode(np.asarray(slope("L", 6, 8))[None])
    assert [getattr(value, "reason", None) for value in values] == [None, "undecodable", None, "empty", "wrong-size"]


def test_a_format_that_is_no_image_takes_contents_as_they_are():
    assert record_values(Utf8Codec(length=8), [b"BM is me", b"GIF89a"]) == [b"BM is me", b"GIF89a"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (saved(slope("RGB", 6, 8), "JPEG"), "it is a JPEG image"),
        (saved(slope("RGB", 6, 8), "TIFF"), "it is a TIFF image"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "it is a HEIC image, as phones write them, which has to be converted"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "it is a HEIC image"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1miafavif", "it is an AVIF image, which has to be converted"),
        (saved(slope("RGB", 6, 8), "AVIF"), "it is an AVIF image"),
        (HTML, "it is an HTML page"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "it is an SVG drawing"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "it is a pointer of Git LFS"),
        (b"%PDF-1.7", "it is a PDF file"),
        (b"BMW and other words", "it does not begin as one"),
    ],
)
def test_a_refusal_says_what_a_value_is(content, said):
    """A topic's value is not converted."""
    assert said in GRAY.decode([content]).refusals[0].error


@pytest.mark.filterwarnings("ignore:Corrupt EXIF", "ignore:Tag data", "ignore:Truncated")
@pytest.mark.parametrize("name", ["GIF", "BMP", "TIFF"])
def test_damaged_images_are_refused_or_give_a_sample(name):
    whole = saved(slope("L", 6, 8), name)
    random = np.random.default_rng(11)
    contents = [whole[: random.integers(len(whole))] for _ in range(30)]
    for _ in range(200):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), 3):
            damaged[place] = random.integers(256)
        contents.append(bytes(damaged))

    for content, value in zip(contents, record_values(GRAY, contents), strict=True):
        assert isinstance(value, bytes) or value.reason, content


@pytest.mark.parametrize(
    "content",
    [
        b"BM" + bytes(12) + b"\x28\0\0\0" + (20_000).to_bytes(4, "little") * 2 + b"\1\0\x18\0" + bytes(24),
        b"GIF89a" + (20_000).to_bytes(2, "little") * 2 + bytes(3) + b"," + bytes(9) + b"\2\1\0\0;",
    ],
    ids=["BMP", "GIF"],
)
def test_an_image_that_claims_too_much_is_refused_undecoded(content):
    any_size = GRAY.model_copy(update={"resize": "crop", "colours": "convert"})

    assert refusal_of(any_size, content).reason in ("too-many-pixels", "undecodable")
