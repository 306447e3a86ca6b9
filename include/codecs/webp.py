"""Images as WebP; its structure is that of https://developers.google.com/speed/webp/docs/riff_container."""

from collections.abc import Iterator
from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator

from include.codecs._exif import UPRIGHT, orientation_of
from include.codecs._file_type import described
from include.codecs._image import DamagedFile, ImageCodec, Picture
from include.refusal import InvalidRecord

RIFF, WEBP = b"RIFF", b"WEBP"
LOSSY, LOSSLESS, EXTENDED, ALPHA, EXIF = b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"EXIF"
ANIMATION = frozenset({b"ANIM", b"ANMF"})
ANIMATED, TRANSPARENT = 0x02, 0x10  # flags of the extended header
LOSSY_START, LOSSLESS_START = b"\x9d\x01\x2a", b"\x2f"


class WebpCodec(ImageCodec):
    """Lossy or lossless, of one frame; written lossless. WebP has no grayscale: a gray format converts its colours.

    Like a JPEG, a WebP has no checksums: damage that keeps its structure valid is detected only where the decoder
    fails.
    """

    kind: Literal["image.webp"] = "image.webp"
    channels: Literal[1, 3] = 3
    pillow_format: ClassVar[str] = "WEBP"
    pillow_settings: ClassVar[dict[str, Any]] = {"lossless": True}

    @model_validator(mode="after")
    def _has_colours(self) -> Self:
        if self.channels == 1 and self.colours is None:
            raise ValueError("every WebP image is in colour: set channels = 3, or colours = 'convert' for gray")
        return self

    @classmethod
    def parse(cls, value: bytes) -> Picture:
        orientation, alpha = UPRIGHT, b""
        canvas: tuple[int, int] | None = None
        frame: tuple[int, int, bool, bytes] | None = None
        for name, start, content in _chunks(value):
            if name == EXTENDED:
                if start != 12 or len(content) < 10:
                    raise DamagedFile(f"the header at byte {start} is cut short or not the first")
                canvas = 1 + int.from_bytes(content[4:7], "little"), 1 + int.from_bytes(content[7:10], "little")
            if name in ANIMATION or (name == EXTENDED and content[0] & ANIMATED):
                raise InvalidRecord("animated", "The WebP image is animated, and a sample is a single picture.")
            if name in (LOSSY, LOSSLESS):
                if frame:
                    raise DamagedFile(f"the frame at byte {start} is the second one")
                width, height, transparent = _lossy(content) if name == LOSSY else _lossless(content)
                frame = width, height, transparent, _chunk(name, content)
            elif name == ALPHA and canvas and not frame:
                alpha = alpha or _chunk(name, content)
            elif name == EXIF and canvas and orientation == UPRIGHT:
                orientation = orientation_of(content)
        if frame is None:
            raise DamagedFile("it has no pixels")
        width, height, transparent, pixels = frame
        if canvas not in (None, (width, height)):
            raise DamagedFile("its frame has another size than its header")
        if alpha and pixels.startswith(LOSSY):
            size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
            pixels = _chunk(EXTENDED, bytes([TRANSPARENT, 0, 0, 0]) + size) + alpha + pixels
            transparent = True
        return Picture(
            width=width,
            height=height,
            orientation=orientation,
            mode="RGBA" if transparent else "RGB",
            content=_chunk(RIFF, WEBP + pixels),
        )


def _chunks(value: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    """Name, first byte and content of every chunk.

    Raises:
        DamagedFile: the file, or a chunk in it, is cut short.
    """
    if value[:4] != RIFF or value[8:12] != WEBP:
        raise DamagedFile(described(value))
    file_end = 8 + int.from_bytes(value[4:8], "little")
    if file_end > len(value):
        raise DamagedFile(f"it is cut short: its header claims {file_end} bytes")
    start = 12
    while start < file_end:
        size = int.from_bytes(value[start + 4 : start + 8], "little")
        end = start + 8 + size
        if end > file_end:
            raise DamagedFile(f"the chunk at byte {start} is cut short")
        yield value[start : start + 4], start, value[start + 8 : end]
        start = end + size % 2


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + len(content).to_bytes(4, "little") + content + bytes(len(content) % 2)


def _lossy(content: bytes) -> tuple[int, int, bool]:
    """Width, height and transparency of a VP8 key frame (RFC 6386, section 9.1)."""
    if len(content) < 10 or content[0] & 1 or content[3:6] != LOSSY_START:
        raise DamagedFile("its frame has no header")
    width, height = (int.from_bytes(content[start : start + 2], "little") & 0x3FFF for start in (6, 8))
    return width, height, False


def _lossless(content: bytes) -> tuple[int, int, bool]:
    """Width, height and transparency of a lossless frame (RFC 9649, section 3.4)."""
    if len(content) < 5 or not content.startswith(LOSSLESS_START):
        raise DamagedFile("its frame has no header")
    header = int.from_bytes(content[1:5], "little")
    return (header & 0x3FFF) + 1, (header >> 14 & 0x3FFF) + 1, bool(header >> 28 & 1)
