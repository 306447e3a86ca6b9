"""Sounds as WAV, whose structure is that of Microsoft's Multimedia Programming Interface (RIFF WAVE, 1991).

RF64 and BW64 (ITU-R BS.2088) are read too: the same structure with 64-bit sizes in a chunk `ds64`.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

from include.codecs._sound_file import DamagedFile, Part, SoundFileCodec

# The format tags of PCM, float, A-law and u-law, and the tag that refers to the extensible header's sub-format.
FORMAT_TAGS, EXTENSIBLE = frozenset({1, 3, 6, 7}), 0xFFFE
LARGE = (b"RF64", b"BW64")
IN_DS64 = 0xFFFF_FFFF
# A program that writes to a pipe cannot go back and fill in the sizes: it leaves 0, or about the largest number of
# 31 or 32 bits. No record is as large.
UNKNOWN_FROM = 0x7F00_0000


class WavCodec(SoundFileCodec):
    """PCM of 8 to 32 bits, float, A-law and u-law; the compressed encodings that a WAV may hold are refused.

    Data of unknown size, or of a size beyond that of the file, ends with the file. A file shorter than it claims
    is refused. A WAV has no checksums: damage that keeps its structure valid is not detected.
    """

    kind: Literal["audio.wav"] = "audio.wav"
    sndfile_format: ClassVar[str] = "WAV"
    formats: ClassVar[frozenset[str]] = frozenset({"WAV", "WAVEX"})
    encodings: ClassVar[frozenset[str]] = frozenset(
        {"PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAW", "ULAW"}
    )
    written_as: ClassVar[str] = "PCM_16"

    def parts(self, value: bytes) -> Sequence[Part]:
        large = value.startswith(LARGE)
        if not (large or value.startswith(b"RIFF")) or value[8:12] != b"WAVE":
            raise DamagedFile("it does not begin as one")
        claimed, of_data = _size(value, 4), None
        start, header = 12, None
        while start + 8 <= len(value):
            name, size = value[start : start + 4], _size(value, start + 4)
            start += 8
            if name == b"data":
                if size == IN_DS64 and of_data is not None:
                    size = of_data
                return [self._whole(value, start, size, claimed, header, large=large)]
            if size > len(value) - start:
                raise DamagedFile(f"its part {name!r} claims {size} bytes and {len(value) - start} follow")
            content = value[start : start + size]
            if name == b"fmt ":
                header = content
                if (encoding := _encoding(content)) not in FORMAT_TAGS:
                    raise DamagedFile(f"its encoding is number {encoding}")
            if name == b"ds64" and large:
                claimed, of_data = _size(content, 0, 8), _size(content, 8, 8)
            start += size + size % 2
        raise DamagedFile("it has no data")

    def _whole(self, value: bytes, start: int, size: int, claimed: int, header: bytes | None, *, large: bool) -> Part:
        """The unchanged file if its sizes are correct, else its header and data with corrected sizes."""
        follow = len(value) - start
        unknown = size >= UNKNOWN_FROM or (not size and not _holds_parts(value, start))
        if not large and not unknown and size <= follow:
            return Part(value)
        if len(value) - 8 < claimed < UNKNOWN_FROM:
            raise DamagedFile(f"it claims {claimed + 8} bytes and has {len(value)}")
        if header is None:
            raise DamagedFile("its data comes before its encoding")
        data = value[start:] if unknown else value[start : start + size]
        content = b"".join(
            part
            for name, body in ((b"fmt ", header), (b"data", data))
            for part in (name, len(body).to_bytes(4, "little"), body, bytes(len(body) % 2))
        )
        return Part(b"RIFF" + (len(content) + 4).to_bytes(4, "little") + b"WAVE" + content)


def _size(value: bytes, start: int, width: int = 4) -> int:
    return int.from_bytes(value[start : start + width], "little")


def _encoding(header: bytes) -> int:
    number = int.from_bytes(header[:2], "little")
    return int.from_bytes(header[24:26], "little") if number == EXTENSIBLE else number


def _holds_parts(value: bytes, start: int) -> bool:
    """Whether only further chunks, or nothing, follow from `start` to the end, so that there is no data."""
    while start + 8 <= len(value) and value[start : start + 4].isascii() and value[start : start + 4].isalnum():
        start += 8 + _size(value, start + 4)
        start += start % 2
    return len(value) <= start <= len(value) + 1
