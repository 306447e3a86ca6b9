"""Samples as pictures, sounds and text for a browser: encoded anew from what was decoded, never the record itself."""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.codecs import PADDING, AudioCodec, ImageCodec, TextCodec
from include.codecs.row import RowCodec
from include.errors import printable
from include.overview.records import DecodedRecord, image_of
from include.refusal import InvalidRecord
from include.strict_json import read_json

if TYPE_CHECKING:
    import numpy as np

    from include.codecs.base import Codec

PNG, WAV = "image/png", "audio/wav"
# Pixels of the longer side; a larger picture is reduced.
LARGEST_SIDE = 768
SHOWN_TEXT = 4000
SHOWN_CELL = 200
SHOWN_BYTES = 512
# Bars of a sound's waveform.
SHOWN_PEAKS = 72


@dataclass(frozen=True)
class Medium:
    """A file for a browser."""

    type: str
    content: bytes


@dataclass(frozen=True)
class Rendering:
    """A sample for a person; one of the first three, or neither where there is no sample.

    Attributes:
        peaks: of a sound, the largest amplitude in each of equal parts, as shares of the largest one.
        row: cells by column.
        raw: the value as found, where it is no sample: text with escapes, cut.
    """

    medium: Medium | None = None
    text: str | None = None
    row: tuple[tuple[str, str], ...] | None = None
    raw: str | None = None
    peaks: tuple[float, ...] = ()


def shown(record: DecodedRecord, codec: Codec) -> Rendering:
    """A record's sample for a browser."""
    sample = record.sample
    if sample is None:
        return Rendering(raw=as_found(record.message.value()))
    if isinstance(codec, ImageCodec):
        return Rendering(medium=Medium(PNG, png(sample)))
    if isinstance(codec, AudioCodec):
        return Rendering(medium=Medium(WAV, wav(sample, codec.sample_rate)), peaks=peaks(sample))
    if isinstance(codec, TextCodec):
        return Rendering(text=readable(sample.tobytes().rstrip(PADDING).decode("utf-8", "replace")))
    if isinstance(codec, RowCodec):
        return Rendering(row=_cells(record.content or b"", codec))
    text = f"array of shape {sample.shape}, {sample.dtype}, {sample.min():g} to {sample.max():g}"
    return Rendering(text=f"{text}\n{' '.join(f'{number:g}' for number in sample.ravel()[:64].tolist())}")


def png(sample: np.ndarray[Any, Any]) -> bytes:
    """A PNG of a decoded image, uint8 (channels, height, width)."""
    picture = image_of(sample)
    picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    with io.BytesIO() as file:
        picture.save(file, "PNG")
        return file.getvalue()


def wav(sample: np.ndarray[Any, Any], rate: int) -> bytes:
    """A WAV of a decoded sound, int16 (1, samples)."""
    with io.BytesIO() as file:
        with wave.open(file, "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(rate)
            sound.writeframes(sample[0].astype("<i2").tobytes())
        return file.getvalue()


def peaks(sample: np.ndarray[Any, Any]) -> tuple[float, ...]:
    """The waveform of a decoded sound, int16 (1, samples): see `Rendering`."""
    import numpy as np

    parts = np.array_split(np.abs(sample[0].astype(np.int32)), SHOWN_PEAKS)
    highest = [int(part.max(initial=0)) for part in parts]
    return tuple(peak / (max(highest) or 1) for peak in highest)


def as_found(value: bytes | None, limit: int = SHOWN_BYTES) -> str:
    """The beginning of any bytes as text, with escapes for what does not print; `null` where there are none."""
    if value is None:
        return "null"
    text = printable(value[:limit].decode("utf-8", "backslashreplace"))
    return f"{text[: 4 * limit]} … ({len(value):,} bytes)" if len(value) > limit else text


def readable(text: str) -> str:
    """The beginning of a text, its lines kept and all else that does not print escaped."""
    lines = text[:SHOWN_TEXT].replace("\r\n", "\n").split("\n")
    return "\n".join(map(printable, lines)) + (" …" if len(text) > SHOWN_TEXT else "")


def _cells(content: bytes, codec: RowCodec) -> tuple[tuple[str, str], ...]:
    try:
        row = read_json(content)
    except InvalidRecord:
        row = {}
    values = row if isinstance(row, dict) else {}
    return tuple((column, printable(str(values.get(column, ""))[:SHOWN_CELL])) for column in codec.columns)
