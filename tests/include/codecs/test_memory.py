"""No value takes much more memory than its own bytes, whatever it claims or inflates to."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from include.codecs._image import MAX_PIXELS
from include.storage.state import PROJECT_ROOT
from tests.support.corpus import (
    ANY_JPEG,
    ANY_PNG,
    BAD_VALUES,
    FLAC,
    JPEG,
    JSON,
    MP3,
    OGG,
    PNG,
    WAV,
    WHOLE_JPEG,
    WHOLE_PNG,
    chunk,
    png_bomb,
    png_header,
    png_of,
    saved,
)
from tests.support.sounds import RATE, sound_file, wav_header, wav_of

MIB = 2**20
SHORT_FRAME = b"\xff\xf3\x10\xc0".ljust(26, b"\0")  # of an MP3, 8 kbit/s
# Two are decoded at once, each with its pixels as bytes and as floats, and with the pointers to its rows.
DECODED = 12 * MAX_PIXELS
PROGRESSIVE = "JPEG of 100 megapixels, progressive"

# One process decodes all, each twice, and prints how far it had grown; the peak is reset before each.
MEASURE = """
import base64, json, pathlib, sys
import numpy as np
from include.definition.kinds import KINDS

def kib(name):
    return int(pathlib.Path("/proc/self/status").read_text().split(name + ":")[1].split()[0])

for line in sys.stdin:
    table, value = json.loads(line)
    codec = KINDS["format"][table["kind"]].model_validate(table)
    codec.decode([codec.encode(np.zeros(codec.sample_shape, codec.decode([]).samples.dtype))])
    values = [base64.b64decode(value)] * 2
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before = kib("VmRSS")
    codec.decode(values)
    print(kib("VmHWM") - before)
"""


def large_values() -> dict[str, tuple[dict[str, Any], bytes]]:
    """Small values that claim or inflate to much; made by the test, since that takes seconds."""
    silence = np.zeros(600 * RATE, np.int16)
    inflated = zlib.compress(bytes(200 * MIB), 9)
    return {
        "PNG with 200 MiB for 48 pixels": (PNG, png_of(png_header(6, 8), (b"IDAT", inflated), (b"IEND", b""))),
        "PNG with 200 MiB of comment": (PNG, WHOLE_PNG[:33] + chunk(b"zTXt", b"text\0\0" + inflated) + WHOLE_PNG[33:]),
        "PNG with 200 MiB of profile": (PNG, WHOLE_PNG[:33] + chunk(b"iCCP", b"icc\0\0" + inflated) + WHOLE_PNG[33:]),
        "PNG of 80,000 chunks": (PNG, WHOLE_PNG[:33] + chunk(b"tEXt", b"") * 80_000 + WHOLE_PNG[33:]),
        "JPEG of 200,000 comments": (JPEG, WHOLE_JPEG[:2] + b"\xff\xfe\0\2" * 200_000 + WHOLE_JPEG[2:]),
        "JPEG of padding": (JPEG, WHOLE_JPEG[:2] + b"\xff" * 900_000 + WHOLE_JPEG[2:]),
        "WAV of 100,000 parts": (WAV, wav_of(*[(b"left", b"")] * 100_000, wav_header(), (b"data", bytes(800)))),
        "WAV of 30 hours in one bit a frame": (WAV, wav_of(wav_header(bits=1), (b"data", bytes(900_000)))),
        "FLAC of ten minutes": (FLAC, sound_file(silence, "FLAC")),
        "FLAC of ten minutes in eight channels": (FLAC, sound_file(np.tile(silence[:, None], 8), "FLAC")),
        "Ogg of ten minutes": (OGG, sound_file(silence, "OGG", encoding="OPUS")),
        "Ogg of a hundred streams": (OGG, sound_file(silence[:RATE], "OGG") * 100),
        # libsndfile estimates its length by its first frame; zeros are added behind it until the estimate is enough.
        "MP3 of short frames behind a long one": (MP3, b"\xff\xf3\xe0\xc0".ljust(522, b"\0") + SHORT_FRAME * 20_000),
        "MP3 of ten minutes": (MP3, sound_file(silence, "MP3")),
        "JSON of 300,000 arrays": (JSON, b'{"text": "left", "more": [' + b"[]," * 300_000 + b"0]}"),
        "JSON of 70,000 keys": (
            JSON,
            b'{"text": "left"' + b"".join(b', "%d": 0' % key for key in range(70_000)) + b"}",
        ),
    }


def resized_values() -> dict[str, tuple[dict[str, Any], bytes]]:
    """The largest number of pixels that is decoded, in the shapes that need most memory."""
    return {
        f"PNG of {width}x{height} pixels, {way}": ({**ANY_PNG, "resize": way}, png_bomb(width, height, depth=8))
        for width, height in ((65_535, 244), (244, 65_535), (4000, 4000))
        for way in ("stretch", "crop", "pad")
    }


def photographs() -> dict[str, tuple[dict[str, Any], bytes]]:
    """100 megapixels, which are decoded at an eighth of their width and height."""
    image = Image.linear_gradient("L").resize((10_000, 10_000))
    return {
        "JPEG of 100 megapixels": (ANY_JPEG, saved(image, "JPEG")),
        PROGRESSIVE: (ANY_JPEG, saved(image, "JPEG", progressive=True)),
    }


@pytest.mark.long  # makes and decodes values of hundreds of megabytes
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux resets a process's peak of memory")
def test_memory_stays_flat():
    """The allowance covers Python's objects: a JSON array of 3 bytes is a list of 64."""
    resized = resized_values()
    values = {bad.name: (bad.format, bad.value) for bad in BAD_VALUES if bad.value} | large_values() | resized
    values |= photographs()
    lines = "".join(f"{json.dumps([table, base64.b64encode(value).decode()])}\n" for table, value in values.values())

    measured = subprocess.run(
        [sys.executable, "-c", MEASURE], input=lines, cwd=PROJECT_ROOT, capture_output=True, check=True, text=True
    )

    grown = dict(zip(values, (int(line) * 1024 for line in measured.stdout.splitlines()), strict=True))
    limits = {name: 4 * MIB + 40 * len(value) + DECODED * (name in resized) for name, (_, value) in values.items()}
    # Of a progressive file the decoder keeps two bytes a pixel and channel, but of one file at a time.
    limits["JPEG of 100 megapixels"] = 32 * MIB
    limits[PROGRESSIVE] = 2 * 100_000_000 + 32 * MIB
    assert {name: grown[name] for name in values if grown[name] > limits[name]} == {}
