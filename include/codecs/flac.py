"""Sounds as FLAC (RFC 9639)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal, NamedTuple

from include.codecs._sound_file import DamagedFile, Part, SoundFileCodec, behind_id3

# Where the stream's header has the number of its frames: the lower 36 bits of 5 bytes, 0 if its encoder didn't know.
TOTAL = slice(21, 26)
TOTAL_BITS = 2**36 - 1
# Before it has the rate, in the upper 20 bits of 3 bytes, and the number of channels.
RATE, CHANNELS = slice(18, 21), 20
# And the number of samples that a block has at most.
MAX_BLOCK = slice(10, 12)
STREAM_HEADER_END, ID3V1_BYTES = 42, 128
SYNCS = (b"\xff\xf8", b"\xff\xf9")
# How far from its end the last frame is looked for. Encoders that write to a pipe make frames of some kB.
LAST_FRAME_BYTES = 2**18
# Places that look like a frame's header before the real one, at most.
CANDIDATES = 4


class FlacCodec(SoundFileCodec):
    """Every frame has a checksum, which libFLAC compares as far as it decodes.

    A stream of unknown length, as encoders write it to a pipe, has the length that its last frame's number says.
    """

    kind: Literal["audio.flac"] = "audio.flac"
    sndfile_format: ClassVar[str] = "FLAC"
    formats: ClassVar[frozenset[str]] = frozenset({"FLAC"})
    encodings: ClassVar[frozenset[str]] = frozenset({"PCM_S8", "PCM_16", "PCM_24"})
    written_as: ClassVar[str] = "PCM_16"

    def parts(self, value: bytes) -> Sequence[Part]:
        start = behind_id3(value)
        if not value.startswith(b"fLaC", start):
            raise DamagedFile("it does not begin as one")
        value = value[start:]
        if len(value) < STREAM_HEADER_END:
            raise DamagedFile("it is cut in its header")
        begin = _behind_metadata(value)
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
    """Where a frame begins and ends in the sound, in samples of each channel."""

    first: int
    end: int


def _behind_metadata(value: bytes) -> int:
    """Where the first frame begins."""
    place, last = 4, 0
    while not last:
        if place + 4 > len(value):
            raise DamagedFile("it is cut in its header")
        last = value[place] & 0x80
        place += 4 + int.from_bytes(value[place + 1 : place + 4], "big")
    return place


def _without_tag(value: bytes, begin: int) -> bytes:
    """The stream without an ID3v1 tag behind it."""
    tag = max(begin, len(value) - ID3V1_BYTES)
    return value[:tag] if value.startswith(b"TAG", tag) else value


def _last_frames(value: bytes, begin: int) -> Iterator[tuple[int, int]]:
    """Where the last frames begin in the file, from its end on, and where each ends in the sound.

    By their headers' checksums alone, so that one in thousands is none.
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
    """How many samples of each channel a stream has that doesn't say it.

    Raises:
        DamagedFile: it does not end with a whole frame.
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
    """The frame header at `start`, None where there is none."""
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


# Of a frame's header and of all of it; the remainder of what ends with its own is 0.
CRC_8, CRC_16 = _crc_table(0x07, 8), _crc_table(0x8005, 16)


def _crc(content: bytes, table: tuple[int, ...], bits: int) -> int:
    remainder, mask = 0, 2**bits - 1
    for byte in content:
        remainder = (remainder << 8 & mask) ^ table[remainder >> (bits - 8) ^ byte]
    return remainder
