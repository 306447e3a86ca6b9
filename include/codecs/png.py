"""Images as PNG, of one fixed size; its structure is that of https://www.w3.org/TR/png-3/#5DataRep."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import ClassVar, Literal

from include.codecs.image import Damaged, ImageCodec, Picture

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER, PALETTE, PIXELS, END = b"IHDR", b"PLTE", b"IDAT", b"IEND"
HEADER_BYTES = 25
ANCILLARY = 0x20  # the bit in a chunk's name that says: safe to pass over


class PngCodec(ImageCodec):
    """Every bit of a PNG is covered by a checksum: what is decoded is what was encoded."""

    kind: Literal["image.png"] = "image.png"
    pillow_format: ClassVar[str] = "PNG"

    def look_into(self, value: bytes) -> Picture:
        if not value.startswith(SIGNATURE):
            raise Damaged("it does not begin as one")
        kept = [SIGNATURE]
        for name, start, end in _chunks(value):
            first = start == len(SIGNATURE)
            # Pillow would go by the last of several headers.
            if first != (name == HEADER) or (first and end - start != HEADER_BYTES):
                raise Damaged(
                    f"the chunk at byte {start} is {name!r} and one header of {HEADER_BYTES} bytes comes first"
                )
            if name in (HEADER, PIXELS, END):
                kept.append(value[start:end])
            elif not name[0] & ANCILLARY and name != PALETTE:
                raise Damaged(f"the chunk at byte {start} is {name!r}, which no reader may pass over")
        header = kept[1]
        return Picture(
            width=int.from_bytes(header[8:12], "big"),
            height=int.from_bytes(header[12:16], "big"),
            mode="",
            content=b"".join(kept),
        )


def _chunks(value: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, first byte and end of every chunk, the last one's too; Pillow passes over the checksums of pixels.

    Raises:
        Damaged: a chunk breaks its checksum, or the last one is missing.
    """
    name, end = b"", len(SIGNATURE)
    while name != END:
        start = end
        end = start + 12 + int.from_bytes(value[start : start + 4], "big")
        checksum = value[end - 4 : end]
        if end > len(value) or zlib.crc32(value[start + 4 : end - 4]) != int.from_bytes(checksum, "big"):
            raise Damaged(f"the chunk at byte {start} is cut short or damaged")
        name = value[start + 4 : start + 8]
        yield name, start, end
