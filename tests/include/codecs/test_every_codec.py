"""The contract of every codec: any bytes become a sample or a refusal, and samples keep their positions."""

from __future__ import annotations

import json
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.codecs import RowStatistics
from include.codecs.row import FIRST_KNOWN
from include.definition.kinds import KINDS
from tests.support.assertions import assert_readable
from tests.support.corpus import (
    ANY_JPEG,
    ANY_PNG,
    ANY_WEBP,
    BAD_VALUES,
    BASE64,
    FLAC,
    JPEG,
    JSON,
    LOSSY_WEBP,
    MP3,
    NPY,
    OGG,
    PCM,
    PNG,
    PROGRESSIVE_JPEG,
    RAW,
    ROW,
    TEXT_NUMBERS,
    TRANSPARENT_WEBP,
    UTF8,
    WAV,
    WEBP,
    WHOLE_BASE64,
    WHOLE_JPEG,
    WHOLE_NPY,
    WHOLE_PNG,
    WHOLE_ROW,
    WHOLE_WEBP,
    npy_with,
    png_header,
    png_of,
    riff,
    webp_header,
)
from tests.support.no_warnings import no_warnings
from tests.support.sounds import WAVE, WHOLE_FLAC, WHOLE_MP3, WHOLE_OGG, WHOLE_OPUS, WHOLE_WAV, wav_header, wav_of

PEOPLE = RowStatistics(mean=(30, 100), deviation=(1e-3, 50), vocabularies=(("female", "male"),))
CODECS = {
    table["kind"]: KINDS["format"][table["kind"]].model_validate(table).with_statistics(PEOPLE)
    for table in (PNG, JPEG, WEBP, RAW, NPY, BASE64, TEXT_NUMBERS, UTF8, JSON, ROW, WAV, FLAC, OGG, MP3, PCM)
}
TAKING_ANY = {
    f"any {table['kind']}": KINDS["format"][table["kind"]].model_validate(table)
    for table in (ANY_PNG, ANY_JPEG, ANY_WEBP)
}
every_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS.keys())

# A failure prints a blob that reproduces it; where CI is set, hypothesis takes the same examples every time.
samples = settings(deadline=None, database=None, print_blob=True)
any_values = settings(samples, max_examples=2 * samples.max_examples)


def samples_of(codec):
    """Samples of the format's shape and dtype."""
    size = int(np.prod(codec.sample_shape))
    if codec.kind.startswith("text."):
        texts = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=size // 4)
        return texts.map(lambda text: np.frombuffer(text.encode().ljust(size, b"\0"), np.uint8))
    if codec.kind.startswith("image."):
        return st.binary(min_size=size, max_size=size).map(
            lambda pixels: np.frombuffer(pixels, np.uint8).reshape(codec.sample_shape)
        )
    if codec.kind.startswith("audio."):
        return st.binary(min_size=2 * size, max_size=2 * size).map(
            lambda numbers: np.frombuffer(numbers, np.int16).reshape(codec.sample_shape)
        )
    numbers = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=size, max_size=size)
    if codec.kind == "row":
        codes = st.sampled_from([FIRST_KNOWN, FIRST_KNOWN + 1])
        return st.tuples(numbers, codes).map(lambda found: np.array([*found[0][:-1], found[1]], np.float64))
    return numbers.map(lambda found: np.array(found, codec.dtype).reshape(codec.sample_shape))


WHOLE = {
    "image.png": [WHOLE_PNG],
    "image.jpeg": [WHOLE_JPEG, PROGRESSIVE_JPEG],
    "image.webp": [WHOLE_WEBP, LOSSY_WEBP, TRANSPARENT_WEBP],
    "tensor.raw": [bytes(24)],
    "tensor.npy": [WHOLE_NPY],
    "tensor.base64": [WHOLE_BASE64],
    "tensor.text": [b"[[0.5, -1], [2e3, 0]]", b"0.5;-1;2e3;0"],
    "text.utf8": ["Grüße, 世界 🙂".encode()],
    "text.json": [b'{"text": "left \\ud83d\\ude42", "more": [1, 2.5e3, null, {"a": true}]}'],
    "row": [WHOLE_ROW],
    "audio.wav": [WHOLE_WAV],
    "audio.flac": [WHOLE_FLAC],
    "audio.ogg": [WHOLE_OGG, WHOLE_OPUS],
    "audio.mp3": [WHOLE_MP3],
    "audio.pcm": [WAVE.tobytes()],
}
LOSSY = {"image.jpeg", "audio.ogg", "audio.mp3"}


@st.composite
def mutated(draw, whole):
    """A value with flipped bits, cut ends, and parts inserted, removed or repeated."""
    value = bytearray(draw(st.sampled_from(whole)))
    for _ in range(draw(st.integers(1, 3))):
        start, end = sorted(draw(st.tuples(*[st.integers(0, len(value))] * 2)))
        match draw(st.sampled_from(["flip", "cut", "put in", "take out", "twice"])):
            case "flip" if start < len(value):
                value[start] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del value[end:]
            case "put in":
                value[start:start] = draw(st.binary(max_size=20))
            case "take out":
                del value[start:end]
            case "twice":
                value[end:end] = value[start:end]
    return bytes(value)


PNG_NAMES = [b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"iCCP", b"zTXt", b"iTXt", b"eXIf", b"acTL", b"fcTL", b"fdAT"]
PNG_SIDES = st.sampled_from([0, 6, 8, 20_000])
PNG_HEADERS = st.builds(png_header, PNG_SIDES, PNG_SIDES, st.sampled_from([1, 8, 16, 9]), st.sampled_from([0, 2, 3, 4]))
PNG_CHUNKS = st.tuples(st.sampled_from(PNG_NAMES), st.binary(max_size=30))
PNG_PIXELS = st.binary(max_size=100).map(lambda pixels: (b"IDAT", zlib.compress(pixels)))
WEBP_NAMES = st.sampled_from([b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF", b"XMP "])
WEBP_FRAMES = st.sampled_from([(b"VP8 ", LOSSY_WEBP[20:]), (b"VP8L", WHOLE_WEBP[20:])])
NPY_HEADERS = st.permutations(
    [
        st.sampled_from(["'descr': '<f4'", "'descr': '|O'", "'descr': [('a', 'O')]", "'descr': '<f4"]),
        st.sampled_from(["'fortran_order': True", "'fortran_order': False", "'fortran_order': 1"]),
        st.sampled_from(
            ["'shape': (2, 3)", "'shape': (-2, 3,)", "'shape': ()", f"'shape': ({9**99},)", "'shape': (0x2,)"]
        ),
    ]
).flatmap(lambda items: st.tuples(*items))
JSON_CONTENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "more"]), inner),
)
# Damage that passes the first check: correct checksums, headers of the right length, valid JSON.
DEEPER = {
    "image.png": st.builds(
        lambda header, chunks, pixels: png_of(header, *chunks, pixels, (b"IEND", b"")),
        PNG_HEADERS,
        st.lists(PNG_CHUNKS, max_size=2),
        PNG_PIXELS,
    ),
    "image.webp": st.builds(
        lambda flags, chunks, frame: riff(webp_header(6, 8, flags), *chunks, frame),
        st.integers(0, 255),
        st.lists(st.tuples(WEBP_NAMES, st.binary(max_size=30)), max_size=2),
        WEBP_FRAMES,
    ),
    "tensor.npy": NPY_HEADERS.map(lambda items: npy_with("{" + ", ".join(items) + "}")),
    "audio.wav": st.builds(
        lambda encoding, channels, rate, bits, content: wav_of(
            wav_header(encoding=encoding, channels=channels, rate=rate, bits=bits), (b"data", content)
        ),
        st.sampled_from([1, 2, 3, 6, 7, 17, 49, 85, 0xFFFE]),
        st.sampled_from([0, 1, 2, 9, 2000]),
        st.sampled_from([0, 1, 8000, 44_100, 2**32 - 1]),
        st.sampled_from([0, 4, 8, 16, 24, 32, 64]),
        st.binary(max_size=900),
    ),
    "text.json": JSON_CONTENTS.map(lambda content: json.dumps(content).encode()),
}


def values_of(codec):
    """None, any bytes, and damaged values of the format."""
    near = mutated(WHOLE[codec.kind]) | st.sampled_from(WHOLE[codec.kind])
    return st.lists(st.none() | st.binary() | near | DEEPER.get(codec.kind, near), max_size=8)


def test_every_kind_is_tested():
    assert set(CODECS) == set(KINDS["format"])


@no_warnings
@pytest.mark.parametrize("codec", [*CODECS.values(), *TAKING_ANY.values()], ids=[*CODECS, *TAKING_ANY])
@any_values
@given(data=st.data())
def test_any_bytes_give_a_sample_or_a_refusal(codec, data):
    values = data.draw(values_of(codec))

    decoded = codec.decode(values)

    positions = decoded.positions.tolist()
    assert positions == sorted(positions)
    assert sorted([*positions, *decoded.refusals]) == list(range(len(values)))
    assert decoded.samples.shape == (len(positions), *codec.sample_shape)
    assert decoded.samples.dtype == codec.decode([]).samples.dtype
    inputs = codec.to_inputs(decoded.samples)
    assert (inputs.dtype, inputs.shape) == (np.float32, (len(positions), *codec.input_shape))
    assert np.isfinite(inputs).all()
    for refusal in decoded.refusals.values():
        assert_readable(ValueError(refusal.error))
        assert refusal.error.encode(), "it goes into a dead letter's header"


@no_warnings
@pytest.mark.parametrize(
    "codec", [codec for kind, codec in CODECS.items() if kind not in LOSSY], ids=lambda it: it.kind
)
@samples
@given(data=st.data())
def test_a_sample_is_decoded_as_it_was_encoded(codec, data):
    """For the lossless formats."""
    sample = data.draw(samples_of(codec))

    decoded = codec.decode([codec.encode(sample)])

    assert decoded.refusals == {}
    assert decoded.samples.dtype == sample.dtype
    np.testing.assert_array_equal(decoded.samples, [sample])


PCM_THAT_COPIES = {**PCM, "dtype": "int16", "channels": 1}
PCMS = [
    PCM_THAT_COPIES,
    {**PCM_THAT_COPIES, "rate": PCM["sample_rate"]},
    {**PCM_THAT_COPIES, "rate": 2 * PCM["sample_rate"]},
    {**PCM_THAT_COPIES, "channels": 2},
    {**PCM_THAT_COPIES, "dtype": "int32"},
]


@pytest.mark.parametrize(
    "codec", [*CODECS.values(), *map(KINDS["format"]["audio.pcm"].model_validate, PCMS)], ids=lambda codec: codec.kind
)
def test_a_format_copies_where_its_values_are_the_samples_own_bytes(codec):
    zeros = np.zeros(codec.sample_shape, codec.decode([]).samples.dtype)

    assert codec.copies == (codec.encode(zeros) == zeros.tobytes())


@every_codec
def test_samples_stay_with_their_records(codec):
    """A good value between any two bad ones."""
    good = WHOLE[codec.kind][0]
    values = [value for bad in BAD_VALUES if bad.format["kind"] == codec.kind for value in (bad.value, good)]

    decoded = codec.decode(values)

    assert decoded.positions.dtype == np.int64
    assert decoded.positions.tolist() == list(range(1, len(values), 2))
    assert decoded.refusals.keys() == set(range(0, len(values), 2))
    assert (decoded.samples == codec.decode([good]).samples).all()


@every_codec
def test_no_values_are_decoded_to_no_samples(codec):
    decoded = codec.decode([])

    assert decoded.samples.shape == (0, *codec.sample_shape)
    assert (len(decoded.positions), decoded.refusals) == (0, {})


@every_codec
@pytest.mark.parametrize("other", ["shape", "dtype", "dimensions"])
def test_a_sample_of_another_shape_or_dtype_is_not_encoded(codec, other):
    shape, dtype = codec.sample_shape, codec.decode([]).samples.dtype
    sample = {
        "shape": np.zeros((*shape[:-1], shape[-1] + 1), dtype),
        "dtype": np.zeros(shape, "complex64"),
        "dimensions": np.zeros((1, *shape), dtype),
    }[other]

    with pytest.raises(ValueError, match="does not fit the format's") as refusal:
        codec.encode(sample)

    assert_readable(refusal.value, shape, dtype)


@every_codec
def test_the_schema_names_kind_and_version(codec):
    assert codec.schema_name == f"{codec.kind}/1"
