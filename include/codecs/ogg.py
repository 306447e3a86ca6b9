"""Sounds as Ogg (RFC 3533) with Vorbis or Opus."""

from __future__ import annotations

import zlib
from typing import ClassVar, Literal

from include.codecs._sound_file import DamagedFile, SoundFileCodec

HEADER_BYTES = 27
# How the first packet begins; FLAC and Speex, which an Ogg may hold too, begin otherwise.
VORBIS, OPUS = b"\x01vorbis", b"OpusHead"
END_OF_STREAM = 4
# Ogg's checksum is zlib's with the bits of every byte, and of the sum, in the other order.
TURNED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class OggCodec(SoundFileCodec):
    """One stream, and not several one behind the other; every page has a checksum, which is compared."""

    kind: Literal["audio.ogg"] = "audio.ogg"
    sndfile_format: ClassVar[str] = "OGG"
    formats: ClassVar[frozenset[str]] = frozenset({"OGG"})
    encodings: ClassVar[frozenset[str]] = frozenset({"VORBIS", "OPUS"})
    written_as: ClassVar[str] = "VORBIS"

    def look_into(self, value: bytes) -> None:
        start, ended = 0, False
        serial = value[14:18]
        while start < len(value) and not ended:
            header = value[start : start + HEADER_BYTES]
            if len(header) < HEADER_BYTES or not header.startswith(b"OggS"):
                raise DamagedFile(f"at byte {start} no page begins" if start else "it does not begin as one")
            body = start + HEADER_BYTES + header[26]
            end = body + sum(value[start + HEADER_BYTES : body])
            if end > len(value):
                raise DamagedFile(f"the page at byte {start} is cut short")
            page = header[:22] + bytes(4) + value[start + 26 : end]
            if checksum(page) != int.from_bytes(header[22:26], "little"):
                raise DamagedFile(f"the page at byte {start} has another checksum than it says")
            if not start and not value.startswith((VORBIS, OPUS), body):
                raise DamagedFile("it holds neither Vorbis nor Opus")
            if header[14:18] != serial:
                raise DamagedFile(f"at byte {start} a second stream begins")
            start, ended = end, bool(header[5] & END_OF_STREAM)
        if not ended:
            raise DamagedFile("its last page is missing")
        if start < len(value):
            raise DamagedFile(f"{len(value) - start} bytes follow its last page")


def checksum(page: bytes) -> int:
    """CRC-32 by the polynomial 0x04c11db7, from zero, the highest bit first."""
    turned = zlib.crc32(page.translate(TURNED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(turned.to_bytes(4, "little").translate(TURNED), "big")
