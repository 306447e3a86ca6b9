"""Images as PNG, of one fixed size; its structure is that of https://www.w3.org/TR/png-3/#5DataRep."""

import zlib
from collections.abc import Iterator
from typing import ClassVar, Literal

from include.codecs._exif import UPRIGHT, orientation_of
from include.codecs._file_type import described
from include.codecs._image import DamagedFile, ImageCodec, Picture

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER, PALETTE, TRANSPARENCY, EXIF, PIXELS, END = b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND"
HEADER_BYTES, CHUNK_BYTES = 25, 12
INDEXED = 3
# Sizes by colour type; Pillow fails at others.
TRANSPARENCY_BYTES = {0: (2,), 2: (6,), INDEXED: range(1, 257)}
ANCILLARY = 0x20  # the bit in a chunk's name that marks it as safe to skip


class PngCodec(ImageCodec):
    """A checksum covers every bit of a PNG: pixels are decoded exactly as they were encoded, or refused."""

    kind: Literal["image.png"] = "image.png"
    pillow_format: ClassVar[str] = "PNG"

    @classmethod
    def parse(cls, value: bytes) -> Picture:
        if not value.startswith(SIGNATURE):
            raise DamagedFile(described(value))
        kept = [SIGNATURE]
        colour, palette, orientation = -1, False, UPRIGHT
        for name, start, end in _chunks(value):
            first = start == len(SIGNATURE)
            # Pillow would use the last of several headers.
            if first != (name == HEADER) or (first and end - start != HEADER_BYTES):
                raise DamagedFile(
                    f"the chunk at byte {start} is {name!r}; one header of {HEADER_BYTES} bytes must come first"
                )
            size = end - start - CHUNK_BYTES
            if first:
                colour = value[start + 17]
            if name in (HEADER, PIXELS, END):
                kept.append(value[start:end])
            elif name == PALETTE and not palette and size <= 768 and size % 3 == 0:
                palette = True
                kept.append(value[start:end])
            elif name == TRANSPARENCY and size in TRANSPARENCY_BYTES.get(colour, ()):
                kept.append(value[start:end])
            elif name == EXIF and orientation == UPRIGHT:
                orientation = orientation_of(value[start + 8 : end - 4])
            elif not name[0] & ANCILLARY and name != PALETTE:
                raise DamagedFile(f"the chunk at byte {start} is {name!r}, which no reader may skip")
        if colour == INDEXED and not palette:
            raise DamagedFile("its pixels refer to a palette that is missing")
        header = kept[1]
        return Picture(
            width=int.from_bytes(header[8:12], "big"),
            height=int.from_bytes(header[12:16], "big"),
            orientation=orientation,
            mode="",
            content=b"".join(kept),
        )


def _chunks(value: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, first byte and end of every chunk, the last one too. Pillow does not compare the checksums of pixels.

    Raises:
        DamagedFile: a chunk's checksum is wrong, or the last chunk is missing.
    """
    name, end = b"", len(SIGNATURE)
    while name != END:
        start = end
        end = start + 12 + int.from_bytes(value[start : start + 4], "big")
        checksum = value[end - 4 : end]
        if end > len(value) or zlib.crc32(value[start + 4 : end - 4]) != int.from_bytes(checksum, "big"):
            raise DamagedFile(f"the chunk at byte {start} is cut short or damaged")
        name = value[start + 4 : start + 8]
        yield name, start, end
