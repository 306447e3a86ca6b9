"""Sounds as WAV, whose structure is that of Microsoft's Multimedia Programming Interface (RIFF WAVE, 1991)."""

from __future__ import annotations

from typing import ClassVar, Literal

from include.codecs._sound_file import DamagedFile, SoundFileCodec

# Of the encodings' numbers: PCM, float, A-law and u-law, and the one that has the number further down.
NUMBERS, FURTHER_DOWN = frozenset({1, 3, 6, 7}), 0xFFFE


class WavCodec(SoundFileCodec):
    """PCM of 8 to 32 bits, float, A-law and u-law; not one of the compressed encodings that a WAV may hold too.

    A WAV has no checksums: damage that leaves its structure whole is not seen.
    """

    kind: Literal["audio.wav"] = "audio.wav"
    sndfile_format: ClassVar[str] = "WAV"
    formats: ClassVar[frozenset[str]] = frozenset({"WAV", "WAVEX"})
    encodings: ClassVar[frozenset[str]] = frozenset(
        {"PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAW", "ULAW"}
    )
    written_as: ClassVar[str] = "PCM_16"

    def look_into(self, value: bytes) -> None:
        if value[:4] != b"RIFF" or value[8:12] != b"WAVE":
            raise DamagedFile("it does not begin as one")
        start = 12
        while start + 8 <= len(value):
            name, size = value[start : start + 4], int.from_bytes(value[start + 4 : start + 8], "little")
            start += 8
            if size > len(value) - start:
                raise DamagedFile(f"its part {name!r} claims {size} bytes and {len(value) - start} follow")
            if name == b"fmt " and (encoding := _encoding(value[start : start + size])) not in NUMBERS:
                raise DamagedFile(f"its encoding is number {encoding}")
            if name == b"data":
                return
            start += size + size % 2
        raise DamagedFile("it has no data")


def _encoding(header: bytes) -> int:
    number = int.from_bytes(header[:2], "little")
    return int.from_bytes(header[24:26], "little") if number == FURTHER_DOWN else number
