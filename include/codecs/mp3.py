"""Sounds as MP3: MPEG-1 and MPEG-2 audio, layer III (ISO/IEC 11172-3 and 13818-3)."""

from __future__ import annotations

from typing import ClassVar, Literal

from include.codecs._sound_file import DamagedFile, SoundFileCodec

# kbit/s by the header's index, of MPEG-1 and of MPEG-2 and 2.5; neither "free" nor the forbidden 15 has one.
BITRATES = {
    True: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
# By the header's version and index, in Hz.
RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
LAYER_3 = 1
TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN")


class Mp3Codec(SoundFileCodec):
    """Frames without a gap from the first to the end of the file, but for tags and zeros before and behind them.

    An MP3 has no checksums that decoders go by: damage that leaves the frames' headers whole is hardly ever seen.
    """

    kind: Literal["audio.mp3"] = "audio.mp3"
    sndfile_format: ClassVar[str] = "MP3"
    formats: ClassVar[frozenset[str]] = frozenset({"MP3"})
    encodings: ClassVar[frozenset[str]] = frozenset({"MPEG_LAYER_III"})
    written_as: ClassVar[str] = "MPEG_LAYER_III"

    def look_into(self, value: bytes) -> None:
        start = first = _behind_tag(value)
        while start < len(value):
            if not (size := _frame_bytes(value[start : start + 4])):
                if start > first and (value.startswith(TAGS, start) or not value[start:].strip(b"\0")):
                    return
                raise DamagedFile(f"at byte {start} no frame begins" if start else "it does not begin as one")
            if start + size > len(value):
                raise DamagedFile(f"the frame at byte {start} is cut short")
            start += size
        if start == first:
            raise DamagedFile("it has no frames")


def _behind_tag(value: bytes) -> int:
    """Where the ID3v2 tag at the beginning ends; its size has seven bits a byte."""
    if not value.startswith(b"ID3"):
        return 0
    size = 0
    for byte in value[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size


def _frame_bytes(header: bytes) -> int:
    """Bytes of the frame that begins with this header, 0 where none does."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return 0
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    bitrate, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if layer != LAYER_3 or version not in RATES or rate == 3 or not 1 <= bitrate <= 14:
        return 0
    kilobits = BITRATES[version == 3][bitrate - 1]
    return (144 if version == 3 else 72) * kilobits * 1000 // RATES[version][rate] + padding
