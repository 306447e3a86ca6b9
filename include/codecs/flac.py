"""Sounds as FLAC (RFC 9639)."""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal, NamedTuple

from include.codecs._sound_file import DamagedFile, Part, SoundFileCodec, after_id3

# The number of frames in the stream's header: the lower 36 bits of 5 bytes, 0 if the encoder did not know it.
TOTAL = slice(21, 26)
TOTAL_BITS = 2**36 - 1
# Before it are the rate, in the upper 20 bits of 3 bytes, and the number of channels.
RATE, CHANNELS = slice(18, 21), 20
# And the maximum number of samples in a block.
MAX_BLOCK = slice(10, 12)
STREAM_HEADER_END, ID3V1_BYTES = 42, 128
SYNCS = (b"\xff\xf8", b"\xff\xf9")
# The last frame is searched this far from the end. Encoders that write to a pipe write frames of a few kB.
LAST_FRAME_BYTES = 2**18
# At most this many places may look like a frame's header before the real one is found.
CANDIDATES = 4


class FlacCodec(SoundFileCodec):
    """Every frame has a checksum, which libFLAC compares for the frames that it decodes.

    The length of a stream whose header has none, as encoders write it to a pipe, comes from the last frame's number.
    """

    kind: Literal["audio.flac"] = "audio.flac"
    sndfile_format: ClassVar[str] = "FLAC"
    formats: ClassVar[frozenset[str]] = frozenset({"FLAC"})
    encodings: ClassVar[frozenset[str]] = frozenset({"PCM_S8", "PCM_16", "PCM_24"})
    written_as: ClassVar[str] = "PCM_16"

    def parts(self, value: bytes) -> Sequence[Part]:
        start = after_id3(value)
        if not value.startswith(b"fLaC", start):
            raise DamagedFile("it does not begin as one")
        value = value[start:]
        if len(value) < STREAM_HEADER_END:
            raise DamagedFile("it is cut in its header")
        begin = _after_metadata(value)
        total = int.from_bytes(value[TOTAL], "big")
        if claimed := total & TOTAL_BITS:
            found = 0
            for _, end in _last_frames(value, begin):
                found = max(found, end)
                if found >= claimed:
                    break
            if 0 < found < claimed:
                self.window(int.from_bytes(value[RATE], "big") >> 4, (value[CHANNELS] >> 1 & 7) + 1, claimed)
                raise DamagedFile(f"it claims {claimed} frames and has {found}")
            return [Part(value)]
        value = _without_tag(value, begin)
        known = total | _found_total(value, begin)
        return [Part(value[: TOTAL.start] + known.to_bytes(5, "big") + value[TOTAL.stop :])]


class _FrameHeader(NamedTuple):
    """The positions in the sound where a frame begins and ends, in samples of each channel."""

    first: int
    end: int


def _after_metadata(value: bytes) -> int:
    """The byte at which the first frame begins."""
    place, last = 4, 0
    while not last:
        if place + 4 > len(value):
            raise DamagedFile("it is cut in its header")
        last = value[place] & 0x80
        place += 4 + int.from_bytes(value[place + 1 : place + 4], "big")
    return place


def _without_tag(value: bytes, begin: int) -> bytes:
    """The stream without an ID3v1 tag at its end."""
    tag = max(begin, len(value) - ID3V1_BYTES)
    return value[:tag] if value.startswith(b"TAG", tag) else value


def _last_frames(value: bytes, begin: int) -> Iterator[tuple[int, int]]:
    """The bytes at which the last frames begin, from the end backwards, and where each ends in the sound.

    Only the headers' checksums are compared, so that one in thousands of results is no frame.
    """
    block, place, sync = int.from_bytes(value[MAX_BLOCK], "big"), len(value), value[begin : begin + 2]
    if sync not in SYNCS:  # all frames begin as the first does
        return
    for _ in range(CANDIDATES):
        header = None
        while header is None:
            lowest = max(begin, len(value) - LAST_FRAME_BYTES)
            place = value.rfind(sync, lowest, place + 1)
            if place < 0:
                return
            header = _frame_header(value, place, block)
        yield place, header.end


def _found_total(value: bytes, begin: int) -> int:
    """The number of samples of each channel, for a stream whose header has none.

    Raises:
        DamagedFile: it does not end with a complete frame.
    """
    if begin >= len(value):
        return 0
    first = _frame_header(value, begin, int.from_bytes(value[MAX_BLOCK], "big"))
    if first is None:
        raise DamagedFile(f"at byte {begin} no frame begins")
    for place, end in _last_frames(value, begin):
        if not _crc(value[place:], CRC_16, 16):
            return max(0, end - first.first)
    raise DamagedFile("it does not end with a whole frame")


def _frame_header(value: bytes, start: int, block: int) -> _FrameHeader | None:
    """The frame header at `start`; None if there is no valid one."""
    fixed = value[start : start + 2] == SYNCS[0]
    if len(value) < start + 16 or value[start : start + 2] not in SYNCS or value[start + 3] & 1:
        return None
    size_code, rate_code = value[start + 2] >> 4, value[start + 2] & 15
    if not size_code or rate_code == 15:
        return None
    lead, place = value[start + 4], start + 5
    following = 8 - (lead ^ 0xFF).bit_length() - 1 if lead >= 0xC0 else 0
    if 0x80 <= lead < 0xC0 or lead == 0xFF:
        return None
    number = lead & (0x7F >> (following + 1 if following else 0))
    for byte in value[place : place + following]:
        number = number << 6 | byte & 0x3F
    place += following
    samples = 192 if size_code == 1 else 576 << (size_code - 2) if size_code < 6 else 256 << (size_code - 8 & 7)
    if size_code in (6, 7):
        width = size_code - 5
        samples = int.from_bytes(value[place : place + width], "big") + 1
        place += width
    place += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if _crc(value[start : place + 1], CRC_8, 8):
        return None
    first = number * block if fixed else number
    return _FrameHeader(first, first + samples)


def _crc_table(polynomial: int, bits: int) -> tuple[int, ...]:
    table = []
    for byte in range(256):
        remainder = byte << (bits - 8)
        for _ in range(8):
            remainder = (remainder << 1) ^ (polynomial if remainder >> (bits - 1) & 1 else 0)
        table.append(remainder & (2**bits - 1))
    return tuple(table)


# The first checks a frame's header, the second the whole frame. Data that ends with its own checksum gives 0.
CRC_8, CRC_16 = _crc_table(0x07, 8), _crc_table(0x8005, 16)


def _crc(content: bytes, table: tuple[int, ...], bits: int) -> int:
    remainder, mask = 0, 2**bits - 1
    for byte in content:
        remainder = (remainder << 8 & mask) ^ table[remainder >> (bits - 8) ^ byte]
    return remainder
