"""Bad values, each with its format and the reason code of its refusal.

The tests of the codecs and of whole pipelines share this table.
"""

from __future__ import annotations

import base64
import io
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from include.codecs.png import SIGNATURE
from tests.support.sounds import (
    RATE,
    WAVE,
    WHOLE_FLAC,
    WHOLE_MP3,
    WHOLE_OGG,
    WHOLE_OPUS,
    WHOLE_WAV,
    flac_claiming,
    mp3_claiming,
    ogg_page,
    sound_file,
    wav_header,
    wav_of,
)


@dataclass(frozen=True)
class BadValue:
    """One value of a record that must be refused.

    Attributes:
        name: unique; the id of its tests.
        format: the `[format]` table of a pipeline.
        value: the record's value; None is a tombstone.
        reason: the code of the refusal.
    """

    name: str
    format: dict[str, Any]
    value: bytes | None
    reason: str


PNG = {"kind": "image.png", "height": 8, "width": 6}
JPEG = {"kind": "image.jpeg", "height": 16, "width": 24, "channels": 3}
WEBP = {"kind": "image.webp", "height": 8, "width": 6, "channels": 3}
# Formats that take images of any size and colours.
ANY_PNG = {**PNG, "channels": 3, "resize": "pad", "colours": "convert"}
ANY_JPEG = {**JPEG, "channels": 1, "resize": "crop", "colours": "convert"}
ANY_WEBP = {**WEBP, "channels": 1, "resize": "stretch", "colours": "convert"}
RAW = {"kind": "tensor.raw", "shape": [2, 3], "dtype": "float32"}
NPY = {**RAW, "kind": "tensor.npy"}
BASE64 = {"kind": "tensor.base64", "shape": [4], "dtype": "float32"}
TEXT_NUMBERS = {"kind": "tensor.text", "shape": [2, 2], "dtype": "float32"}
UTF8 = {"kind": "text.utf8", "length": 32}
JSON = {"kind": "text.json", "length": 32, "field": "text"}
ROW = {"kind": "row", "numbers": ["age", "fare"], "categories": ["sex"]}
SOUND = {"sample_rate": RATE, "seconds": 0.05, "spectrogram": {"n_fft": 64, "hop": 32, "n_mels": 8}}
WAV = {"kind": "audio.wav", **SOUND}
FLAC = {"kind": "audio.flac", **SOUND}
OGG = {"kind": "audio.ogg", **SOUND}
MP3 = {"kind": "audio.mp3", **SOUND}
PCM = {"kind": "audio.pcm", "dtype": "float32", "channels": 2, **SOUND}

NUMBERS = np.arange(6, dtype="<f4").reshape(2, 3)
FOUR = np.arange(4, dtype="<f4")
HTML = b"<!DOCTYPE html><html><body>504 Gateway Time-out</body></html>"
PICKLE = b"cos\nabort\n(tR."  # unpickling it aborts the process


def saved(image: Image.Image, image_format: str, **settings: Any) -> bytes:
    """An image as a file."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, **settings)
    return buffer.getvalue()


def slope(mode: str, width: int, height: int) -> Image.Image:
    """A smooth image, in which damaged pixels still look like an image."""
    pixels = np.add.outer(np.arange(height), np.arange(width)).astype(np.uint8) * 2
    return Image.fromarray(pixels).convert(mode)


def see_through(width: int, height: int) -> Image.Image:
    """A red image, transparent in its upper left corner and less so towards the lower right one."""
    image = Image.new("RGBA", (width, height), "red")
    image.putalpha(slope("L", width, height))
    return image


def flipped(value: bytes, byte: int, bit: int = 0) -> bytes:
    changed = bytearray(value)
    changed[byte] ^= 1 << bit
    return bytes(changed)


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file with its checksum."""
    return len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")


def png_of(*chunks: tuple[bytes, bytes]) -> bytes:
    return SIGNATURE + b"".join(chunk(name, content) for name, content in chunks)


def png_header(width: int, height: int, depth: int = 8, colour: int = 0) -> tuple[bytes, bytes]:
    return b"IHDR", width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([depth, colour, 0, 0, 0])


def png_bomb(width: int, height: int, *, depth: int = 1) -> bytes:
    """A valid black image of so many bits a pixel, which zlib compresses a thousandfold."""
    rows = zlib.compress(bytes((width * depth // 8 + 1) * height), 9)
    return png_of(png_header(width, height, depth=depth), (b"IDAT", rows), (b"IEND", b""))


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """A WebP file of these chunks."""
    parts = [name + len(content).to_bytes(4, "little") + content + bytes(len(content) % 2) for name, content in chunks]
    content = b"WEBP" + b"".join(parts)
    return b"RIFF" + len(content).to_bytes(4, "little") + content


def webp_header(width: int, height: int, flags: int = 0) -> tuple[bytes, bytes]:
    """The header of an extended WebP."""
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"VP8X", bytes([flags, 0, 0, 0]) + size


def lossless_claiming(width: int, height: int) -> tuple[bytes, bytes]:
    """The frame of `WHOLE_WEBP` with another size in its header."""
    size = (width - 1) | (height - 1) << 14
    return b"VP8L", b"\x2f" + size.to_bytes(4, "little") + WHOLE_WEBP[25:]


def jpeg_claiming(width: int, height: int) -> bytes:
    """`WHOLE_JPEG` with another size in its header."""
    size = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return WHOLE_JPEG[: FRAME + 5] + size + WHOLE_JPEG[FRAME + 9 :]


def npy(array: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def npy_with(header: str, content: bytes = NUMBERS.tobytes(), version: int = 1) -> bytes:
    """A .npy file with this header."""
    counted = 2 if version == 1 else 4
    length = len(header).to_bytes(counted, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + header.encode() + content


def npy_of_shape(shape: str) -> bytes:
    return npy_with(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n")


def numbers_with(number: float) -> np.ndarray[Any, Any]:
    changed = NUMBERS.copy()
    changed[1, 2] = number
    return changed


WHOLE_PNG = saved(slope("L", 6, 8), "PNG")
WHOLE_JPEG = saved(slope("RGB", 24, 16), "JPEG")
FRAME, SCAN = WHOLE_JPEG.index(b"\xff\xc0"), WHOLE_JPEG.index(b"\xff\xda")
PROGRESSIVE_JPEG = saved(slope("RGB", 24, 16), "JPEG", progressive=True)
WHOLE_WEBP = saved(slope("RGB", 6, 8), "WEBP", lossless=True)
LOSSY_WEBP = saved(slope("RGB", 6, 8), "WEBP")
LOSSY_FRAME = (b"VP8 ", LOSSY_WEBP[20:])
TRANSPARENT_WEBP = saved(see_through(6, 8), "WEBP")
WHOLE_NPY = npy(NUMBERS)
WHOLE_BASE64 = base64.b64encode(FOUR.tobytes())


def _bad(settings: dict[str, Any], *values: tuple[str, bytes | None, str]) -> list[BadValue]:
    kind = settings["kind"]
    ends = (("tombstone", None, "empty"), ("no bytes", b"", "empty"))
    return [BadValue(f"{kind}: {name}", settings, value, reason) for name, value, reason in (*ends, *values)]


BAD_PNG = _bad(
    PNG,
    ("HTML", HTML, "undecodable"),
    ("JPEG", saved(slope("L", 6, 8), "JPEG"), "undecodable"),
    ("GIF", saved(slope("L", 6, 8), "GIF"), "undecodable"),
    ("signature alone", SIGNATURE, "undecodable"),
    ("cut in the header", WHOLE_PNG[:20], "undecodable"),
    ("cut in the pixels", WHOLE_PNG[:50], "undecodable"),
    ("cut before its end", WHOLE_PNG[:-12], "undecodable"),
    ("bit flipped in the header", flipped(WHOLE_PNG, 19), "undecodable"),
    ("bit flipped in the pixels", flipped(WHOLE_PNG, 48), "undecodable"),
    ("bit flipped in a checksum", flipped(WHOLE_PNG, len(WHOLE_PNG) - 1), "undecodable"),
    ("no pixels", png_of(png_header(6, 8), (b"IDAT", b""), (b"IEND", b"")), "undecodable"),
    ("two headers", png_of(png_header(6, 8)) + png_bomb(9_000, 9_000)[8:], "undecodable"),
    ("90 megapixels", png_bomb(10_000, 9_000), "too-many-pixels"),
    ("81 megapixels", png_bomb(9_000, 9_000), "too-many-pixels"),
    ("400 megapixels claimed", png_of(png_header(20_000, 20_000), (b"IDAT", b""), (b"IEND", b"")), "too-many-pixels"),
    ("a row of a million pixels", png_bomb(1_000_000, 1), "too-many-pixels"),
    ("turned", saved(slope("L", 8, 6), "PNG"), "wrong-size"),
    ("no width", png_of(png_header(0, 8), (b"IDAT", b""), (b"IEND", b"")), "wrong-size"),
    ("colour", saved(slope("RGB", 6, 8), "PNG"), "wrong-channels"),
    ("alpha", saved(slope("LA", 6, 8), "PNG"), "wrong-channels"),
    ("palette", saved(slope("P", 6, 8), "PNG"), "wrong-channels"),
    ("one bit a pixel", saved(slope("1", 6, 8), "PNG"), "wrong-channels"),
    ("16 bits a pixel", saved(slope("I;16", 6, 8), "PNG"), "wrong-channels"),
)

DEEP = saved(Image.fromarray(np.full((8, 6), 4096, np.uint16)), "PNG")
BAD_DEEP_PNG = [BadValue("image.png: beyond 12 bits", {**PNG, "bits": 12}, DEEP, "wrong-depth")]

BAD_JPEG = _bad(
    JPEG,
    ("HTML", HTML, "undecodable"),
    ("PNG", saved(slope("RGB", 24, 16), "PNG"), "undecodable"),
    ("start alone", b"\xff\xd8\xff", "undecodable"),
    ("cut in the tables", WHOLE_JPEG[:100], "undecodable"),
    ("cut in the pixels", WHOLE_JPEG[:-20], "undecodable"),
    ("cut before its end", WHOLE_JPEG[:-2], "undecodable"),
    ("cut by a byte", WHOLE_JPEG[:-1], "undecodable"),
    ("progressive, cut after a scan", PROGRESSIVE_JPEG[: PROGRESSIVE_JPEG.rindex(b"\xff\xda")], "undecodable"),
    ("bit flipped in the start", flipped(WHOLE_JPEG, 1), "undecodable"),
    ("bit flipped in a length", flipped(WHOLE_JPEG, 4, bit=7), "undecodable"),
    ("bit flipped in the frame's marker", flipped(WHOLE_JPEG, FRAME + 1, bit=6), "undecodable"),
    ("two headers", WHOLE_JPEG[:SCAN] + jpeg_claiming(9_000, 9_000)[FRAME:], "undecodable"),
    ("no pixels", WHOLE_JPEG[:2] + WHOLE_JPEG[-2:], "undecodable"),
    (
        "a thousand scans",
        PROGRESSIVE_JPEG[:-2] + PROGRESSIVE_JPEG[PROGRESSIVE_JPEG.rindex(b"\xff\xda") : -2] * 1000 + b"\xff\xd9",
        "undecodable",
    ),
    ("90 megapixels claimed", jpeg_claiming(10_000, 9_000), "too-many-pixels"),
    ("4 gigapixels claimed", jpeg_claiming(65_500, 65_500), "too-many-pixels"),
    ("turned", saved(slope("RGB", 16, 24), "JPEG"), "wrong-size"),
    ("no height", jpeg_claiming(24, 0), "wrong-size"),
    ("gray", saved(slope("L", 24, 16), "JPEG"), "wrong-channels"),
    ("CMYK", saved(slope("CMYK", 24, 16), "JPEG"), "wrong-channels"),
)

BAD_WEBP = _bad(
    WEBP,
    ("HTML", HTML, "undecodable"),
    ("PNG", saved(slope("RGB", 6, 8), "PNG"), "undecodable"),
    ("WAV", b"RIFF" + (36).to_bytes(4, "little") + b"WAVEfmt " + bytes(28), "undecodable"),
    ("start alone", WHOLE_WEBP[:12], "undecodable"),
    ("cut in the header", WHOLE_WEBP[:20], "undecodable"),
    ("cut in the pixels", WHOLE_WEBP[:-4], "undecodable"),
    ("pixels cut in a whole file", riff((b"VP8L", WHOLE_WEBP[20:-8])), "undecodable"),
    ("lossy pixels cut in a whole file", riff((b"VP8 ", LOSSY_WEBP[20:-30])), "undecodable"),
    ("bit flipped in a length", flipped(WHOLE_WEBP, 18), "undecodable"),
    ("bit flipped in the frame's start", flipped(WHOLE_WEBP, 20), "undecodable"),
    ("bit flipped in a lossy frame's start", flipped(LOSSY_WEBP, 24), "undecodable"),
    ("no frame", riff(webp_header(6, 8)), "undecodable"),
    ("two frames", riff(webp_header(6, 8), LOSSY_FRAME, LOSSY_FRAME), "undecodable"),
    ("header of another size", riff(webp_header(9, 9), LOSSY_FRAME), "undecodable"),
    ("header behind the frame", riff(LOSSY_FRAME, webp_header(6, 8)), "undecodable"),
    (
        "animation",
        saved(slope("RGB", 6, 8), "WEBP", save_all=True, append_images=[slope("RGB", 6, 8).rotate(180)]),
        "animated",
    ),
    ("animation of no frame", riff(webp_header(6, 8, flags=2), LOSSY_FRAME), "animated"),
    ("268 megapixels claimed", riff(lossless_claiming(16_384, 16_384)), "too-many-pixels"),
    ("turned", saved(slope("RGB", 8, 6), "WEBP", lossless=True), "wrong-size"),
    ("transparent", saved(see_through(6, 8), "WEBP", lossless=True), "wrong-channels"),
    ("transparent and lossy", TRANSPARENT_WEBP, "wrong-channels"),
)

BAD_RAW = _bad(
    RAW,
    ("a byte short", NUMBERS.tobytes()[:-1], "wrong-size"),
    ("a byte more", NUMBERS.tobytes() + b"\0", "wrong-size"),
    ("float64", NUMBERS.astype("<f8").tobytes(), "wrong-size"),
    ("NaN", numbers_with(np.nan).tobytes(), "not-finite"),
    ("infinity", numbers_with(np.inf).tobytes(), "not-finite"),
    ("minus infinity", numbers_with(-np.inf).tobytes(), "not-finite"),
)

BAD_NPY = _bad(
    NPY,
    ("HTML", HTML, "undecodable"),
    ("a pickle", PICKLE, "undecodable"),
    ("version 9", WHOLE_NPY[:6] + b"\x09" + WHOLE_NPY[7:], "undecodable"),
    ("cut in its header", WHOLE_NPY[:60], "undecodable"),
    ("header of 4 GB claimed", b"\x93NUMPY\x02\x00\xff\xff\xff\xff{'descr'", "undecodable"),
    ("header of 60 kB", npy_with(WHOLE_NPY[10:128].decode().ljust(60_000)), "undecodable"),
    ("header that nests", npy_with("{'shape': " + "(" * 500 + ")" * 500 + "}"), "undecodable"),
    ("header that is a call", npy_with("__import__('os').abort()"), "undecodable"),
    ("header with a shape twice", npy_with("{'descr': '<f4', 'shape': (2, 3), 'shape': (2, 3)}"), "undecodable"),
    ("shape that is no number", npy_of_shape("(2, 3-)"), "undecodable"),
    ("objects", npy_with("{'descr': '|O', 'fortran_order': False, 'shape': (2, 3), }\n", PICKLE), "wrong-dtype"),
    ("float64", npy(NUMBERS.astype("<f8")), "wrong-dtype"),
    ("int32 of the same size", npy(NUMBERS.astype("<i4")), "wrong-dtype"),
    ("big-endian", npy(NUMBERS.astype(">f4")), "wrong-dtype"),
    ("structured", npy(np.zeros((2, 3), [("a", "<f4"), ("b", "<i2", (2,))])), "wrong-dtype"),
    ("turned", npy(NUMBERS.T.copy()), "wrong-shape"),
    ("flat", npy(NUMBERS.ravel()), "wrong-shape"),
    ("a single number", npy(NUMBERS[0, 0]), "wrong-shape"),
    ("negative shape", npy_of_shape("(-2, -3)"), "wrong-shape"),
    ("huge shape", npy_of_shape("(1000000000000, 1000000000000)"), "wrong-shape"),
    ("shape beyond 64 bits", npy_of_shape("(36893488147419103232, 3)"), "wrong-shape"),
    ("shape of more bytes than there are", WHOLE_NPY[:-1], "wrong-size"),
    ("shape of fewer bytes than there are", WHOLE_NPY + b"\0", "wrong-size"),
    ("header alone", WHOLE_NPY[:128], "wrong-size"),
    ("NaN", npy(numbers_with(np.nan)), "not-finite"),
    ("infinity", npy(numbers_with(np.inf)), "not-finite"),
)

BAD_BASE64 = _bad(
    BASE64,
    ("HTML", HTML, "invalid-base64"),
    ("the bytes themselves", FOUR.tobytes(), "invalid-base64"),
    ("line break at the end", WHOLE_BASE64 + b"\n", "invalid-base64"),
    ("line break inside", WHOLE_BASE64[:8] + b"\r\n" + WHOLE_BASE64[8:], "invalid-base64"),
    ("a blank inside", WHOLE_BASE64[:8] + b" " + WHOLE_BASE64[9:], "invalid-base64"),
    ("URL alphabet", WHOLE_BASE64[:8] + b"-_" + WHOLE_BASE64[10:], "invalid-base64"),
    ("data URL", b"data:;base64," + WHOLE_BASE64, "invalid-base64"),
    ("padding forgotten", WHOLE_BASE64.rstrip(b"="), "invalid-base64"),
    ("padding inside", WHOLE_BASE64[:8] + b"AA==" + WHOLE_BASE64[12:], "invalid-base64"),
    ("padding and no more", b"=" * len(WHOLE_BASE64), "invalid-base64"),
    ("bits beyond the last byte", WHOLE_BASE64[:-3] + b"B==", "invalid-base64"),
    ("a byte short", base64.b64encode(FOUR.tobytes()[:-1]), "wrong-size"),
    ("a byte more", base64.b64encode(FOUR.tobytes() + b"\0"), "wrong-size"),
    ("no number", base64.b64encode(b"\0"), "wrong-size"),
    ("900 kB", base64.b64encode(bytes(675_000)), "wrong-size"),
    ("NaN", base64.b64encode(np.array([0, 1, 2, np.nan], "<f4").tobytes()), "not-finite"),
    ("infinity", base64.b64encode(np.array([np.inf, 1, 2, 3], "<f4").tobytes()), "not-finite"),
)

BAD_UTF8 = _bad(
    UTF8,
    ("Latin-1", "Grüße".encode("latin-1"), "invalid-utf8"),
    ("UTF-16", "Grüße".encode("utf-16"), "invalid-utf8"),
    ("cut in a character", "Grü".encode()[:-1], "invalid-utf8"),
    ("overlong slash", b"\xc0\xaf", "invalid-utf8"),
    ("half a surrogate pair", b"\xed\xa0\x80", "invalid-utf8"),
    ("beyond Unicode", b"\xf4\x90\x80\x80", "invalid-utf8"),
    ("NUL inside", b"left\0right", "holds-nul"),
    ("NUL at the end", b"left\0", "holds-nul"),
    ("NUL alone", b"\0", "holds-nul"),
    ("a byte more", b"x" * 33, "too-long"),
    ("a byte more in its last character", "ü".encode().rjust(33), "too-long"),
)

BAD_JSON = _bad(
    JSON,
    ("HTML", HTML, "invalid-json"),
    ("cut", b'{"text": "left', "invalid-json"),
    ("two objects", b'{"text": "left"} {"text": "right"}', "invalid-json"),
    ("single quotes", b"{'text': 'left'}", "invalid-json"),
    ("comma at the end", b'{"text": "left",}', "invalid-json"),
    ("byte order mark", b'\xef\xbb\xbf{"text": "left"}', "invalid-json"),
    ("line break in the text", b'{"text": "le\nft"}', "invalid-json"),
    ("NaN as the text", b'{"text": NaN}', "invalid-json"),
    ("NaN beside the text", b'{"text": "left", "score": NaN}', "invalid-json"),
    ("infinity", b'{"text": "left", "score": Infinity}', "invalid-json"),
    ("minus infinity", b'{"text": "left", "score": -Infinity}', "invalid-json"),
    ("key twice", b'{"text": "left", "text": "right"}', "invalid-json"),
    ("key twice further down", b'{"text": "left", "more": [{"a": 1, "a": 2}]}', "invalid-json"),
    ("100,000 levels of arrays", b'{"text": "left", "more": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "invalid-json"),
    ("100,000 levels of objects", b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "invalid-json"),
    ("UTF-16", '{"text": "left"}'.encode("utf-16"), "invalid-utf8"),
    ("Latin-1", '{"text": "Grüße"}'.encode("latin-1"), "invalid-utf8"),
    ("half a surrogate pair", b'{"text": "\\ud800"}', "invalid-utf8"),
    ("array", b'["left"]', "wrong-type"),
    ("text alone", b'"left"', "wrong-type"),
    ("null", b"null", "wrong-type"),
    ("number as the text", b'{"text": 5}', "wrong-type"),
    ("number of 100,000 digits as the text", b'{"text": ' + b"9" * 100_000 + b"}", "wrong-type"),
    ("null as the text", b'{"text": null}', "wrong-type"),
    ("object as the text", b'{"text": {"text": "left"}}', "wrong-type"),
    ("another field", b'{"Text": "left"}', "missing-field"),
    ("field further down", b'{"data": {"text": "left"}}', "missing-field"),
    ("empty text", b'{"text": ""}', "empty"),
    ("NUL inside", b'{"text": "le\\u0000ft"}', "holds-nul"),
    ("a byte more", b'{"text": "' + b"x" * 33 + b'"}', "too-long"),
    ("500 kB of escapes", b'{"text": "' + b"\\u0041" * 83_000 + b'"}', "too-long"),
)

WHOLE_ROW = b'{"age": 29, "fare": "211.5", "sex": "female", "name": null}'

BAD_ROW = _bad(
    ROW,
    ("HTML", HTML, "invalid-json"),
    ("cut", WHOLE_ROW[:-1], "invalid-json"),
    ("key twice", b'{"age": 1, "age": 2, "fare": 3, "sex": "male"}', "invalid-json"),
    ("NaN as JSON", b'{"age": NaN, "fare": 3, "sex": "male"}', "invalid-json"),
    ("Latin-1", '{"age": 1, "fare": 3, "sex": "männlich"}'.encode("latin-1"), "invalid-utf8"),
    ("half a surrogate pair", b'{"age": 1, "fare": 3, "sex": "\\ud800"}', "invalid-utf8"),
    ("list", b"[29, 211.5, 0]", "wrong-type"),
    ("object as a category", b'{"age": 1, "fare": 3, "sex": {"is": "male"}}', "wrong-type"),
    ("no number", b'{"fare": 3, "sex": "male"}', "missing-field"),
    ("null as a number", b'{"age": null, "fare": 3, "sex": "male"}', "missing-field"),
    ("empty text as a number", b'{"age": " ", "fare": 3, "sex": "male"}', "missing-field"),
    ("NaN as text", b'{"age": "nan", "fare": 3, "sex": "male"}', "missing-field"),
    ("no category", b'{"age": 1, "fare": 3}', "missing-field"),
    ("empty category", b'{"age": 1, "fare": 3, "sex": ""}', "missing-field"),
    ("text as a number", b'{"age": "old", "fare": 3, "sex": "male"}', "undecodable"),
    ("decimal comma", b'{"age": "1,5", "fare": 3, "sex": "male"}', "undecodable"),
    ("boolean as a number", b'{"age": true, "fare": 3, "sex": "male"}', "undecodable"),
    ("list as a number", b'{"age": [1], "fare": 3, "sex": "male"}', "undecodable"),
    ("infinity as text", b'{"age": "inf", "fare": 3, "sex": "male"}', "not-finite"),
    ("beyond float32", b'{"age": 1e39, "fare": 3, "sex": "male"}', "not-finite"),
    ("a category of a kilobyte and a byte", b'{"age": 1, "fare": 3, "sex": "' + b"x" * 1025 + b'"}', "field-too-long"),
)

BAD_WAV = _bad(
    WAV,
    ("HTML", HTML, "undecodable"),
    ("JSON", b'{"audio": "left"}', "undecodable"),
    ("MP3", WHOLE_MP3, "undecodable"),
    ("FLAC", WHOLE_FLAC, "undecodable"),
    ("AIFF", sound_file(WAVE, "AIFF"), "undecodable"),
    ("ADPCM inside", sound_file(WAVE, "WAV", encoding="IMA_ADPCM"), "undecodable"),
    ("GSM inside", sound_file(WAVE, "WAV", encoding="GSM610"), "undecodable"),
    ("header alone", WHOLE_WAV[:12], "undecodable"),
    ("cut in the header", WHOLE_WAV[:30], "undecodable"),
    ("cut before the data", WHOLE_WAV[:36], "undecodable"),
    ("cut in the data", WHOLE_WAV[:-100], "undecodable"),
    ("cut by a byte", WHOLE_WAV[:-1], "undecodable"),
    ("no header before the data", wav_of((b"data", bytes(800))), "undecodable"),
    ("no bits", wav_of(wav_header(bits=0), (b"data", bytes(800))), "undecodable"),
    ("no channel", wav_of(wav_header(channels=0), (b"data", bytes(800))), "undecodable"),
    ("no frames", wav_of(wav_header(), (b"data", b"")), "no-frames"),
    ("64 channels", wav_of(wav_header(channels=64), (b"data", bytes(12_800))), "too-many-channels"),
    ("a sample a second", wav_of(wav_header(rate=1), (b"data", bytes(800))), "wrong-rate"),
    ("4 billion samples a second", wav_of(wav_header(rate=4_000_000_000), (b"data", bytes(800))), "undecodable"),
    ("a million samples a second", wav_of(wav_header(rate=1_000_000), (b"data", bytes(800))), "wrong-rate"),
    ("NaN", sound_file(np.append(WAVE, np.float32("nan"))[1:], "WAV", encoding="FLOAT"), "not-finite"),
    ("infinity", sound_file(np.append(WAVE, np.float32("inf"))[1:], "WAV", encoding="DOUBLE"), "not-finite"),
)

BAD_FLAC = _bad(
    FLAC,
    ("HTML", HTML, "undecodable"),
    ("WAV", WHOLE_WAV, "undecodable"),
    ("Ogg", WHOLE_OGG, "undecodable"),
    ("begin alone", b"fLaC", "undecodable"),
    ("cut in the header", WHOLE_FLAC[:30], "undecodable"),
    ("cut in the frames", WHOLE_FLAC[: len(WHOLE_FLAC) // 2], "undecodable"),
    ("cut by a byte", WHOLE_FLAC[:-1], "undecodable"),
    ("bit flipped in a frame", flipped(WHOLE_FLAC, len(WHOLE_FLAC) - 40), "undecodable"),
    ("a frame more claimed", flac_claiming(WHOLE_FLAC, 401), "undecodable"),
    ("half an hour claimed", flac_claiming(WHOLE_FLAC, 1800 * RATE), "undecodable"),
    ("hours claimed", flac_claiming(WHOLE_FLAC, 3600 * RATE), "too-many-frames"),
    ("months claimed", flac_claiming(WHOLE_FLAC, 2**36 - 1), "too-many-frames"),
)

BAD_OGG = _bad(
    OGG,
    ("HTML", HTML, "undecodable"),
    ("WAV", WHOLE_WAV, "undecodable"),
    ("FLAC", WHOLE_FLAC, "undecodable"),
    ("begin alone", b"OggS", "undecodable"),
    ("cut in a page", WHOLE_OGG[:1000], "undecodable"),
    ("first page alone", WHOLE_OGG[: WHOLE_OGG.index(b"OggS", 4)], "undecodable"),
    ("cut before the last page", WHOLE_OGG[: WHOLE_OGG.rindex(b"OggS")], "undecodable"),
    ("first page missing", WHOLE_OGG[WHOLE_OGG.index(b"OggS", 4) :], "undecodable"),
    ("cut by a byte", WHOLE_OGG[:-1], "undecodable"),
    ("bit flipped in a page", flipped(WHOLE_OGG, len(WHOLE_OGG) - 40), "undecodable"),
    ("a byte more", WHOLE_OGG + b"x", "undecodable"),
    ("a stream beside it", WHOLE_OGG[: WHOLE_OGG.index(b"OggS", 4)] + WHOLE_OPUS, "undecodable"),
    ("FLAC inside", ogg_page(b"\x7fFLAC" + WHOLE_FLAC), "undecodable"),
    ("Speex inside", ogg_page(b"Speex   1.2"), "undecodable"),
)

BAD_MP3 = _bad(
    MP3,
    ("HTML", HTML, "undecodable"),
    ("WAV", WHOLE_WAV, "undecodable"),
    ("begin alone", WHOLE_MP3[:4], "undecodable"),
    ("a tag alone", b"ID3\4\0\0\0\0\0\0", "undecodable"),
    ("a tag of 256 MB claimed", b"ID3\4\0\0\x7f\x7f\x7f\x7f" + WHOLE_MP3, "undecodable"),
    ("cut in its last frame but one", WHOLE_MP3[: len(WHOLE_MP3) // 2], "undecodable"),
    ("something between frames", WHOLE_MP3.replace(WHOLE_MP3[:4], b"left" + WHOLE_MP3[:4]), "undecodable"),
    ("bit flipped in a header", flipped(WHOLE_MP3, 0), "undecodable"),
    ("hours claimed", mp3_claiming(WHOLE_MP3, 30_000), "too-many-frames"),
    ("more claimed than there is", mp3_claiming(WHOLE_MP3, 300), "undecodable"),
)

BAD_PCM = _bad(
    PCM,
    ("half a frame", np.repeat(WAVE, 2).tobytes()[:-4], "wrong-size"),
    ("a byte short", np.repeat(WAVE, 2).tobytes()[:-1], "wrong-size"),
    ("NaN", np.append(WAVE[1:], np.float32("nan")).tobytes(), "not-finite"),
    ("infinity", np.append(WAVE[1:], np.float32("-inf")).tobytes(), "not-finite"),
)

BAD_SOUNDS = [*BAD_WAV, *BAD_FLAC, *BAD_OGG, *BAD_MP3, *BAD_PCM]

BAD_IMAGES = [*BAD_PNG, *BAD_DEEP_PNG, *BAD_JPEG, *BAD_WEBP]
BAD_VALUES = [*BAD_IMAGES, *BAD_RAW, *BAD_NPY, *BAD_BASE64, *BAD_UTF8, *BAD_JSON, *BAD_ROW, *BAD_SOUNDS]
