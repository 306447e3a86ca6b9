"""The check of JPEG files in C passes no file that the one in Python does not, and neither decides what is a sample."""

from __future__ import annotations

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from include.codecs import jpeg
from include.codecs.jpeg import JpegCodec
from include.native.library import NoLibrary
from tests.support.corpus import WHOLE_JPEG, saved

GRAY = JpegCodec(height=16, width=24)
COLOUR = JpegCodec(height=16, width=24, channels=3)


def damaged(whole, generator, count):
    """Copies of the files with changed or missing bytes, some anywhere and some in the pixels alone."""
    for number in range(count):
        value = bytearray(whole[number % len(whole)])
        first = 0 if number % 3 else value.index(b"\xff\xda") + 16
        for _ in range(generator.integers(0, 3)):
            byte = generator.integers(first, len(value))
            value[byte] = generator.choice([0, 63, 0xC0, 0xD0, 0xD9, 0xDA, 0xE0, 0xE1, 0xFF, generator.integers(256)])
        if not generator.integers(3):
            cut = generator.integers(first, len(value))
            del value[cut : cut + generator.choice([1, 2, 500])]
        yield bytes(value)


@pytest.mark.parametrize("codec", [GRAY, COLOUR], ids=["gray", "colour"])
def test_the_check_in_c_passes_only_what_the_one_in_python_passes(codec, monkeypatch):
    """A file that only looks complete would be decoded without its last rows."""
    generator = np.random.default_rng(20261201)
    noise = Image.fromarray(generator.integers(0, 256, (16, 24, 3), np.uint8))
    picture = noise.convert("L") if codec is GRAY else noise
    whole = [
        saved(picture, "JPEG", restart_marker_blocks=1, comment=b"\xff\xd9"),
        saved(picture, "JPEG", quality=90, optimize=True),
        saved(noise, "JPEG", subsampling="4:2:0"),
        saved(picture, "JPEG", progressive=True),
    ]
    values: list[bytes | None] = [None, b"", saved(noise, "PNG"), *whole, *damaged(whole, generator, 3000)]
    is_plain = jpeg._is_plain()
    assert is_plain is not None
    plain = [value for value in values if value and is_plain(value, len(value), 24, 16, codec.channels)]
    for value in plain:
        found = JpegCodec.parse(value)
        assert (found.width, found.height, found.orientation, found.mode) == (24, 16, 1, picture.mode)
        assert not found.in_passes
    with_c, refusals = codec.decode(values), codec.refusals(values)

    monkeypatch.setattr(jpeg, "_is_plain", lambda: None)
    without = codec.decode(values)

    assert len(plain) > 500
    assert 500 < len(without.refusals) < len(values)
    assert with_c.refusals == refusals == without.refusals
    np.testing.assert_array_equal(with_c.samples, without.samples)


def test_a_decoder_that_fails_in_another_way_refuses_the_file(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("could not create JPEG decoder")

    monkeypatch.setattr(simplejpeg, "decode_jpeg", fail)

    assert COLOUR.decode([WHOLE_JPEG]).refusals[0].reason == COLOUR.refusals([WHOLE_JPEG])[0].reason == "undecodable"


def test_without_the_check_in_c_one_line_says_why(monkeypatch, caplog):
    def missing(name, **settings):
        raise NoLibrary("no C compiler is installed")

    monkeypatch.setattr(jpeg, "native_library", missing)
    jpeg._is_plain.cache_clear()
    with caplog.at_level("INFO"):
        assert COLOUR.decode([WHOLE_JPEG, WHOLE_JPEG]).refusals == {}
    jpeg._is_plain.cache_clear()

    (line,) = [record.getMessage() for record in caplog.records if record.name == jpeg.log.name]
    assert line.endswith("is checked in Python, which takes longer (no C compiler is installed).")
