"""Sounds as Ogg (RFC 3533) with Vorbis or Opus."""

import zlib
from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal, NamedTuple

from include.codecs._sound_file import DamagedFile, Part, SoundFileCodec

HEADER_BYTES = 27
# The beginning of the first packet; the others that an Ogg may hold, FLAC and Speex, are refused.
VORBIS, OPUS = b"\x01vorbis", b"OpusHead"
BEGIN_OF_STREAM, END_OF_STREAM = 2, 4
# The length of every segment of a packet except the last.
WHOLE_PIECE = 255
# Recorded radio has a stream for each title; a malicious file could have a hundred thousand.
MAX_STREAMS = 100
# Ogg's checksum is zlib's with the bits of every byte, and of the sum, reversed.
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class OggCodec(SoundFileCodec):
    """Streams in a row, not interleaved. Every page has a checksum, which is compared.

    The flag of a stream's last page is optional, because live recordings lack it, but the page must end with a whole
    packet.
    """

    kind: Literal["audio.ogg"] = "audio.ogg"
    sndfile_format: ClassVar[str] = "OGG"
    formats: ClassVar[frozenset[str]] = frozenset({"OGG"})
    encodings: ClassVar[frozenset[str]] = frozenset({"VORBIS", "OPUS"})
    written_as: ClassVar[str] = "VORBIS"

    def parts(self, value: bytes) -> Sequence[Part]:
        streams: list[tuple[int, _Page]] = []
        page = None
        for page, before in _pages(value):
            if page.flags & BEGIN_OF_STREAM:
                if before and before.last_piece == WHOLE_PIECE:
                    raise DamagedFile(f"the packet before byte {page.start} is cut short")
                if not value.startswith((VORBIS, OPUS), page.body):
                    raise DamagedFile("it holds neither Vorbis nor Opus")
                streams.append((page.start, page))
            elif before is None or before.flags & END_OF_STREAM:
                raise DamagedFile(f"the page at byte {page.start} belongs to no stream")
            elif page.serial != before.serial:
                raise DamagedFile(f"at byte {page.start} a second stream begins")
            elif before.granule and page.number != before.number + 1:
                # After the headers, pages may be missing: a live recording begins with much older headers.
                raise DamagedFile(f"pages are missing before byte {page.start}")
            streams[-1] = streams[-1][0], page
        if page is None or page.last_piece == WHOLE_PIECE or not (page.granule or page.flags & END_OF_STREAM):
            raise DamagedFile("its last page is missing")
        if len(streams) > MAX_STREAMS:
            raise DamagedFile(f"it holds {len(streams)} streams, and at most {MAX_STREAMS} are decoded")
        return [Part(_ended(value, start, last)) for start, last in streams]


class _Page(NamedTuple):
    """A page's header, and where the page and its body begin and end.

    Attributes:
        last_piece: length of the last segment in it.
        granule: position of its end in the sound; 0 where a stream's headers end.
    """

    start: int
    body: int
    end: int
    flags: int
    serial: bytes
    number: int
    granule: int
    last_piece: int


def _ended(value: bytes, start: int, last: _Page) -> bytes:
    """The stream with the flag for its last page set: libsndfile's Opus decoder accepts a shorter packet only there."""
    if last.flags & END_OF_STREAM:
        return value[start : last.end]
    page = bytearray(value[last.start : last.end])
    page[5] |= END_OF_STREAM
    page[22:26] = bytes(4)
    page[22:26] = checksum(bytes(page)).to_bytes(4, "little")
    return value[start : last.start] + page


def _pages(value: bytes) -> Iterator[tuple[_Page, _Page | None]]:
    """Each page, and the one before it.

    Raises:
        DamagedFile: a page is cut short or its checksum is wrong, or anything but zeros follows the last one.
    """
    start, before = 0, None
    while start < len(value):
        header = value[start : start + HEADER_BYTES]
        if len(header) < HEADER_BYTES or not header.startswith(b"OggS"):
            if before and not value[start:].strip(b"\0"):
                return
            raise DamagedFile(f"at byte {start} no page begins" if start else "it does not begin as one")
        body = start + HEADER_BYTES + header[26]
        pieces = value[start + HEADER_BYTES : body]
        end = body + sum(pieces)
        if end > len(value):
            raise DamagedFile(f"the page at byte {start} is cut short")
        content = header[:22] + bytes(4) + value[start + 26 : end]
        if checksum(content) != int.from_bytes(header[22:26], "little"):
            raise DamagedFile(f"the page at byte {start} has a wrong checksum")
        granule = int.from_bytes(header[6:14], "little", signed=True)
        number = int.from_bytes(header[18:22], "little")
        page = _Page(start, body, end, header[5], header[14:18], number, granule, pieces[-1] if pieces else 0)
        yield page, before
        start, before = end, page


def checksum(page: bytes) -> int:
    """CRC-32 with the polynomial 0x04c11db7, initial value 0, highest bit first."""
    reflected = zlib.crc32(page.translate(REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(reflected.to_bytes(4, "little").translate(REVERSED), "big")
