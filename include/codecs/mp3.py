"""Sounds as MP3: MPEG-1 and MPEG-2 audio, layer III (ISO/IEC 11172-3 and 13818-3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

from include.codecs._sound_file import DamagedFile, Part, SoundFileCodec, after_id3

# kbit/s by the header's index, of MPEG-1 (True) and of MPEG-2 and 2.5; "free" (0) and the invalid 15 are refused.
BITRATES = {
    True: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
# By the header's version and index, in Hz.
RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
LAYER_3 = 1
MONO = 3
# Tags that may follow the frames.
ID3V1, APE, LYRICS, ID3V2 = b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"ID3"
TAGS = (ID3V1, APE, LYRICS, ID3V2)
ID3V1_BYTES, APE_HEADER_BYTES = 128, 32
LYRICS_ENDS = (b"LYRICS200", b"LYRICSEND")
# Samples that a decoder adds at the beginning. With an information frame, they and those of its encoder are removed.
DECODER_DELAY = 529
# An information frame that is shorter, from its tag on, is decoded as sound.
INFORMATION_BYTES = 120


class Mp3Codec(SoundFileCodec):
    """Frames without gaps, with tags and zeros only before the first and after the last one.

    The length comes from counting the frames, and not from the file's size or from an information frame (Xing, LAME)
    that counts others. A last frame that is cut short is left out, as players do; a file that lacks more than one of
    the frames that it counts is refused. Decoders ignore an MP3's checksums: damage that keeps the frames' headers
    valid is rarely detected.
    """

    kind: Literal["audio.mp3"] = "audio.mp3"
    sndfile_format: ClassVar[str] = "MP3"
    formats: ClassVar[frozenset[str]] = frozenset({"MP3"})
    encodings: ClassVar[frozenset[str]] = frozenset({"MPEG_LAYER_III"})
    written_as: ClassVar[str] = "MPEG_LAYER_III"

    def parts(self, value: bytes) -> Sequence[Part]:
        frames, count = _frames_of(value)
        first = frame_bytes(frames[:4])
        form = _form(frames)
        information = _information(frames[:first])
        if information is None:
            return [_counted(frames, count, form)]
        count -= 1
        if information.frames is None:
            return [_counted(frames, count, form)]
        if information.frames > count + 1:
            self.window(form.rate, form.channels, information.frames * form.frame_samples)
            raise DamagedFile(f"it claims {information.frames} MPEG frames and has {count}")
        missing = information.frames - count
        padding = max(0, information.padding - missing * form.frame_samples) if missing >= 0 else 0
        if missing:
            frames = information.corrected(frames, count, padding)
        samples = count * form.frame_samples
        end = min(samples, samples - padding + DECODER_DELAY)
        return [Part(frames, max(0, end - information.delay - DECODER_DELAY))]


@dataclass(frozen=True)
class _Form:
    """What all frames of a file have in common."""

    rate: int
    channels: int
    frame_samples: int


@dataclass(frozen=True)
class _Information:
    """A first frame without sound, which counts the others.

    Attributes:
        place: where the frame's tag begins.
        frames: how many others, None where it doesn't say.
        delay, padding: samples that the encoder added before and after the sound.
        lame: where the part that has delay and padding begins, None where there is none.
    """

    place: int
    frames: int | None
    delay: int
    padding: int
    lame: int | None

    def corrected(self, content: bytes, frames: int, padding: int) -> bytes:
        """The file with other numbers in this frame."""
        changed = bytearray(content)
        changed[self.place + 8 : self.place + 12] = frames.to_bytes(4, "big")
        if changed[self.place + 7] & 2:
            changed[self.place + 12 : self.place + 16] = len(content).to_bytes(4, "big")
        if self.lame is not None:
            changed[self.lame + 21 : self.lame + 24] = (self.delay << 12 | padding).to_bytes(3, "big")
        return bytes(changed)


def _frames_of(value: bytes) -> tuple[bytes, int]:
    """The file without its tags and a last frame that is cut short, and how many frames there are.

    Raises:
        DamagedFile: something else is before or between them.
    """
    start = after_id3(value)
    if start:
        start += len(value[start:]) - len(value[start:].lstrip(b"\0"))
    begin, count, kept, form = start, 0, [], b""
    while start < len(value):
        header = value[start : start + 4]
        size = frame_bytes(header)
        if size:
            if start + size > len(value):
                break
            # The first may be an information frame, whose channels need not be the others'.
            if count == 1:
                form = header
            elif count and header != form and _changed(form, header):
                raise DamagedFile(f"at byte {start} its rate or number of channels changes")
            start += size
            count += 1
            continue
        kept.append(value[begin:start])
        if not count:
            raise DamagedFile(f"at byte {start} no frame begins" if start else "it does not begin as one")
        rest = value[start:]
        if not rest.strip(b"\0") or (len(rest) < 4 and b"\xff\xff\xff\xff".startswith(rest[:1])):
            begin = start = len(value)
            break
        start += len(rest) - len(rest.lstrip(b"\0"))
        if not value.startswith(TAGS, start):
            raise DamagedFile(f"at byte {start} no frame begins")
        begin = start = _after_tags(value, start)
        if not frame_bytes(value[start : start + 4]):
            begin = start = len(value)
    kept.append(value[begin:start])
    if not count:
        raise DamagedFile("it has no frames")
    return (kept[0] if len(kept) == 1 else b"".join(kept)), count


def _after_tags(value: bytes, start: int) -> int:
    """Where the tags that begin at `start` end, including zeros between them."""
    while value.startswith(TAGS, start):
        if value.startswith(ID3V1, start):
            start += ID3V1_BYTES
        elif value.startswith(APE, start):
            start += APE_HEADER_BYTES + int.from_bytes(value[start + 12 : start + 16], "little")
        elif value.startswith(LYRICS, start):
            ends = [end + len(name) for name in LYRICS_ENDS if (end := value.find(name, start)) >= 0]
            start = min(ends, default=len(value))
        else:
            start = after_id3(value, start)
    return start


def _changed(first: bytes, other: bytes) -> bool:
    """Whether two frames' headers differ in version, rate or number of channels."""
    return bool((first[1] ^ other[1]) & 0x18 or (first[2] ^ other[2]) & 0x0C) or (first[3] >> 6 == MONO) != (
        other[3] >> 6 == MONO
    )


def _form(frames: bytes) -> _Form:
    version = frames[1] >> 3 & 3
    channels = 1 if frames[3] >> 6 == MONO else 2
    return _Form(RATES[version][frames[2] >> 2 & 3], channels, 1152 if version == 3 else 576)


def _counted(frames: bytes, count: int, form: _Form) -> Part:
    """A file without a count, padded with zeros: libsndfile estimates the length from the size and the first bit rate.

    The zeros are not decoded, since the frames end before them.
    """
    begin = 0
    if _information(frames[: frame_bytes(frames[:4])]):
        begin = frame_bytes(frames[:4])
    size = frame_bytes(frames[begin : begin + 4]) + 1
    wanted = begin + (count + 2) * size
    return Part(frames + bytes(max(0, wanted - len(frames))), count * form.frame_samples)


def _information(frame: bytes) -> _Information | None:
    """The information in the first frame, if it has no sound (the header of Xing and LAME, as mpg123 parses it)."""
    version, unprotected = frame[1] >> 3 & 3, frame[1] & 1
    stereo = frame[3] >> 6 != MONO
    place = 4 + ((32 if stereo else 17) if version == 3 else (17 if stereo else 9)) + (0 if unprotected else 2)
    if len(frame) < place + INFORMATION_BYTES or frame[place : place + 4] not in (b"Xing", b"Info"):
        return None
    flags = frame[place + 7]
    frames = int.from_bytes(frame[place + 8 : place + 12], "big") if flags & 1 else None
    lame = place + 8 + 4 * (flags & 1) + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
    if len(frame) < lame + 24 or not frame[lame]:
        return _Information(place, frames, 0, 0, None)
    both = int.from_bytes(frame[lame + 21 : lame + 24], "big")
    return _Information(place, frames, both >> 12, both & 0xFFF, lame)


@lru_cache(maxsize=1024)  # most frames of a file have one of a few headers
def frame_bytes(header: bytes) -> int:
    """Bytes of the frame that begins with this header, 0 where it is no header."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return 0
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    bitrate, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if layer != LAYER_3 or version not in RATES or rate == 3 or not 1 <= bitrate <= 14:
        return 0
    kilobits = BITRATES[version == 3][bitrate - 1]
    return (144 if version == 3 else 72) * kilobits * 1000 // RATES[version][rate] + padding
