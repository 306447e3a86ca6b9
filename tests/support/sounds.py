"""Sound files: valid ones, and ones that a decoder must refuse."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import soundfile

from include.codecs.ogg import checksum

RATE = 8000


def tone(frequency: float, *, seconds: float = 0.05, rate: int = RATE, level: float = 0.5) -> np.ndarray[Any, Any]:
    """float32 (frames,): a sine with amplitude `level`."""
    time = np.arange(round(seconds * rate)) / rate
    return (level * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def sound_file(
    wave: np.ndarray[Any, Any], file_format: str, *, rate: int = RATE, encoding: str | None = None, **settings: Any
) -> bytes:
    """The file of a wave of shape (frames,) or (frames, channels)."""
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format=file_format, subtype=encoding, **settings)
    return buffer.getvalue()


def wav_of(*parts: tuple[bytes, bytes]) -> bytes:
    """A WAV file of these chunks."""
    content = b"".join(name + struct.pack("<I", len(part)) + part for name, part in parts)
    return b"RIFF" + struct.pack("<I", len(content) + 4) + b"WAVE" + content


def wav_header(*, encoding: int = 1, channels: int = 1, rate: int = RATE, bits: int = 16) -> tuple[bytes, bytes]:
    frame = channels * bits // 8
    return b"fmt ", struct.pack("<HHIIHH", encoding, channels, rate, rate * frame % 2**32, frame, bits)


def flac_claiming(whole: bytes, frames: int) -> bytes:
    """A FLAC file whose header claims another length: 36 bits from its 22nd byte on."""
    changed = bytearray(whole)
    changed[21] = changed[21] & 0xF0 | frames >> 32
    changed[22:26] = (frames % 2**32).to_bytes(4, "big")
    return bytes(changed)


def ogg_page(packet: bytes) -> bytes:
    """An Ogg file of a single page with this packet."""
    sizes = bytes([255] * (len(packet) // 255) + [len(packet) % 255])
    start, end = b"OggS\0\6" + bytes(16), bytes([len(sizes)]) + sizes + packet
    return start + checksum(start + bytes(4) + end).to_bytes(4, "little") + end


def mp3_claiming(whole: bytes, frames: int) -> bytes:
    """An MP3 file whose information frame claims another number of frames."""
    place = max(whole.find(b"Xing"), whole.find(b"Info")) + 8
    return whole[:place] + frames.to_bytes(4, "big") + whole[place + 4 :]


WAVE = tone(440)
WHOLE_WAV = sound_file(WAVE, "WAV")
WHOLE_FLAC = sound_file(WAVE, "FLAC")
WHOLE_OGG = sound_file(WAVE, "OGG")
WHOLE_OPUS = sound_file(WAVE, "OGG", encoding="OPUS")
WHOLE_MP3 = sound_file(WAVE, "MP3")
