"""PNG images come out as they went in, and everything else comes out as a refusal."""

from __future__ import annotations

import io
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from include.codecs.png import PngCodec
from include.state import PROJECT_ROOT

GRAY = PngCodec(height=8, width=6)
COLOUR = PngCodec(height=5, width=7, channels=3)
SIGNATURE = b"\x89PNG\r\n\x1a\n"
SEEDS = [1, 2, 3]


def noise(codec, seed=0):
    return np.random.default_rng(seed).integers(0, 256, codec.sample_shape, np.uint8)


def chunk(name, content):
    return len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")


def chunks_of(value):
    """Names and contents."""
    found, start = [], len(SIGNATURE)
    while start < len(value):
        length = int.from_bytes(value[start : start + 4], "big")
        found.append((value[start + 4 : start + 8], value[start + 8 : start + 8 + length]))
        start += length + 12
    return found


def png_of(chunks):
    return SIGNATURE + b"".join(chunk(name, content) for name, content in chunks)


def saved(image, image_format="PNG"):
    buffer = io.BytesIO()
    image.save(buffer, image_format)
    return buffer.getvalue()


def refusal_of(codec, value):
    decoded = codec.decode([value])
    assert decoded.samples.shape == (0, *codec.sample_shape)
    (refusal,) = decoded.refusals
    assert refusal.position == 0
    return refusal


@pytest.mark.parametrize("codec", [GRAY, COLOUR], ids=["gray", "colour"])
def test_an_image_comes_out_as_it_went_in(codec):
    samples = [noise(codec, seed) for seed in range(5)]

    decoded = codec.decode([codec.encode(sample) for sample in samples])

    assert decoded.refusals == []
    assert decoded.positions.tolist() == [0, 1, 2, 3, 4]
    assert decoded.samples.dtype == np.uint8
    np.testing.assert_array_equal(decoded.samples, samples)


def test_pixels_become_numbers_from_0_to_1():
    inputs = GRAY.to_inputs(np.array([[[[0, 51, 255]]]], np.uint8))

    assert inputs.dtype == np.float32
    np.testing.assert_allclose(inputs, [[[[0.0, 0.2, 1.0]]]], rtol=1e-6)


def test_samples_keep_the_positions_of_their_records():
    good = [GRAY.encode(noise(GRAY, seed)) for seed in range(3)]

    decoded = GRAY.decode([None, good[0], b"no image", good[1], good[2], b""])

    assert decoded.positions.tolist() == [1, 3, 4]
    assert [(refusal.position, refusal.reason) for refusal in decoded.refusals] == [
        (0, "empty"),
        (2, "undecodable"),
        (5, "empty"),
    ]
    np.testing.assert_array_equal(decoded.samples, [noise(GRAY, seed) for seed in range(3)])


def test_nothing_decodes_to_nothing():
    decoded = GRAY.decode([])

    assert decoded.samples.shape == (0, 1, 8, 6)
    assert (len(decoded.positions), decoded.refusals) == (0, [])


@pytest.mark.parametrize(
    ("value", "reason", "told"),
    [
        (None, "empty", "no value"),
        (b"", "empty", "no value"),
        (b"<!DOCTYPE html><html><body>504 Gateway Time-out</body></html>", "undecodable", "61 bytes"),
        (saved(Image.new("L", (6, 8)), "JPEG"), "undecodable", "not a whole PNG"),
        (saved(Image.new("L", (6, 8)), "GIF"), "undecodable", "not a whole PNG"),
        (saved(Image.new("L", (8, 6))), "wrong-size", "8x6 pixels, the format 6x8"),
        (saved(Image.new("RGB", (6, 8))), "wrong-channels", "RGB and the format has L"),
        (saved(Image.new("LA", (6, 8))), "wrong-channels", "LA"),
        (saved(Image.new("P", (6, 8))), "wrong-channels", "P"),
        (saved(Image.new("1", (6, 8))), "wrong-channels", "1"),
        (saved(Image.new("I;16", (6, 8))), "wrong-channels", "I;16"),
        (SIGNATURE, "undecodable", "8 bytes"),
    ],
    ids=["none", "empty", "html", "jpeg", "gif", "turned", "rgb", "alpha", "palette", "bits", "16 bits", "signature"],
)
def test_what_is_no_image_of_this_format_is_refused(value, reason, told):
    refusal = refusal_of(GRAY, value)

    assert refusal.reason == reason
    assert told in refusal.error


@pytest.mark.parametrize("codec", [GRAY, COLOUR], ids=["gray", "colour"])
def test_an_image_that_is_cut_short_anywhere_is_refused(codec):
    whole = codec.encode(noise(codec))

    reasons = {refusal_of(codec, whole[:length]).reason for length in range(1, len(whole))}

    assert reasons == {"undecodable"}


def test_a_flipped_bit_anywhere_is_refused():
    """A smooth image: there zlib alone lets most flips of the pixels' own bytes pass, and Pillow checks no more."""
    codec = PngCodec(height=28, width=28)
    smooth = (np.add.outer(np.arange(28), np.arange(28)) * 2).astype(np.uint8)[None]
    whole = codec.encode(smooth)

    for bit in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        refusal_of(codec, bytes(flipped))


def test_a_damaged_chunk_that_pillow_stumbles_over_is_refused():
    header, pixels, end = chunks_of(GRAY.encode(noise(GRAY)))

    assert refusal_of(GRAY, png_of([header, (b"iCCP", b""), pixels, end])).reason == "undecodable"


MEASURE = """
import resource, sys
from include.codecs.png import PngCodec
codec, value = PngCodec(height=8, width=6), sys.stdin.buffer.read()
codec.decode([codec.encode(__import__("numpy").zeros((1, 8, 6), "uint8"))])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
reason = codec.decode([value] * 20).refusals[0].reason
print(reason, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_picture_of_90_megapixels_is_refused_before_it_is_unpacked():
    width, height = 10_000, 9_000
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x00\x00\x00\x00"
    pixels = zlib.compress(bytes((width + 1) * height), 1)
    bomb = png_of([(b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")])
    assert len(bomb) < 1_000_000

    measured = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEASURE], input=bomb, cwd=PROJECT_ROOT, capture_output=True, check=True
    )

    reason, grown_kib = measured.stdout.split()
    assert reason == b"wrong-size"
    assert int(grown_kib) < 20 * 1024, "the picture takes 88 MiB"


def test_a_picture_of_400_megapixels_is_refused():
    header = (20_000).to_bytes(4, "big") * 2 + b"\x08\x00\x00\x00\x00"

    assert refusal_of(GRAY, png_of([(b"IHDR", header), (b"IDAT", b""), (b"IEND", b"")])).reason == "undecodable"


@pytest.mark.filterwarnings("ignore:Invalid APNG")
@pytest.mark.parametrize("seed", SEEDS, ids="seed {}".format)
def test_any_bytes_give_a_sample_or_a_refusal(seed):
    """Noise, noise behind a signature, and images whose chunks are changed and have right checksums again."""
    random = np.random.default_rng(seed)
    chunks = chunks_of(GRAY.encode(noise(GRAY, seed)))
    names = [b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"iCCP", b"zTXt", b"iTXt", b"eXIf", b"acTL", b"fcTL", b"gAMA"]

    def changed():
        mutated = list(chunks)
        for _ in range(random.integers(1, 4)):
            position = int(random.integers(len(mutated)))
            name, content = mutated[position]
            match random.integers(4):
                case 0:
                    mutated.insert(position, (names[random.integers(len(names))], random.bytes(random.integers(30))))
                case 1:
                    mutated[position] = (name, content[: random.integers(len(content) + 1)])
                case 2:
                    mutated[position] = (name, random.bytes(len(content)))
                case _ if len(mutated) > 1:
                    del mutated[position]
        return png_of(mutated)

    values = [random.bytes(random.integers(100)) for _ in range(100)]
    values += [SIGNATURE + random.bytes(random.integers(100)) for _ in range(100)]
    values += [changed() for _ in range(1000)]

    decoded = GRAY.decode(values)

    positions = [*decoded.positions.tolist(), *(refusal.position for refusal in decoded.refusals)]
    assert sorted(positions) == list(range(len(values)))
    assert all(refusal.reason and refusal.error for refusal in decoded.refusals)


@pytest.mark.parametrize(
    "sample",
    [np.zeros((1, 8, 7), np.uint8), np.zeros((8, 6), np.uint8), np.zeros((1, 8, 6), np.float32)],
    ids=["other size", "no channel", "other dtype"],
)
def test_a_sample_that_the_format_does_not_describe_is_not_encoded(sample):
    with pytest.raises(ValueError, match=r"does not fit the format's \(1, 8, 6\) and uint8"):
        GRAY.encode(sample)


def test_the_schema_names_kind_and_version():
    assert GRAY.schema_name == "image.png/1"
