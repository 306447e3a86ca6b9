"""Images as JPEG, of one fixed size; its structure is that of ITU-T T.81, Annex B."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from ctypes import c_char_p, c_int, c_size_t, c_uint
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from include.codecs._exif import SIDEWAYS, UPRIGHT, orientation_of
from include.codecs._file_type import described
from include.codecs._image import MAX_PIXELS, MODES, PIXELS_PER_BYTE, DamagedFile, ImageCodec, Picture, threads_for
from include.codecs._threads import for_each
from include.native.library import NoLibrary, native_library
from include.refusal import InvalidRecord, Refusal

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

START, END = b"\xff\xd8", b"\xff\xd9"
SCAN = 0xDA
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
IN_ONE_PASS = frozenset({0xC0, 0xC1})  # the others are progressive, lossless or hierarchical
TABLES = frozenset({0xC4, 0xCC, 0xDB, 0xDD})
# JFIF's and Adobe's segments say how colours are stored; the others are EXIF, thumbnails, profiles and comments.
COLOURS = frozenset({0xE0, 0xEE})
EXIF = 0xE1
METADATA = frozenset({*range(0xE0, 0xF0), 0xFE}) - COLOURS
SEGMENTS = FRAMES | TABLES | COLOURS | METADATA | {SCAN}

MODES_BY_COMPONENTS = {1: "L", 3: "RGB", 4: "CMYK"}
COLOUR_SPACES = {1: "GRAY", 3: "RGB"}

MARKER = re.compile(rb"\xff+[^\x00\xff]")
# Inside a scan, a zero follows each 0xff of the pixels, and restart markers belong to the scan.
END_OF_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")

# A trailing warning about files of some cameras: all pixels were decoded before it.
HARMLESS = frozenset({"Invalid SOS parameters for sequential JPEG"})

# A resizing filter looks best from this multiple of the target size, or from the other where that is too much.
SCALE, LEAST_SCALE = 2, 1
# Where the format resizes, a photograph of so many pixels is decoded at a number of eighths of its width and height, so
# that `MAX_PIXELS` remain.
MAX_SCALED_PIXELS = 100_000_000
EIGHTHS = 8
# The frequencies of a progressive file are in memory as a whole, 6 bytes a pixel: one large file at a time.
_large_file = Lock()
# Progressive files have about ten scans; each costs as much as decoding the whole image.
MAX_SCANS = 100


class JpegCodec(ImageCodec):
    """Baseline or progressive, rotated by EXIF's orientation.

    A JPEG has no checksums: damage that keeps its structure valid is detected only where the decoder fails.
    """

    kind: Literal["image.jpeg"] = "image.jpeg"
    pillow_format: ClassVar[str] = "JPEG"
    pillow_settings: ClassVar[dict[str, Any]] = {"quality": 95, "subsampling": "4:4:4"}

    @classmethod
    def parse(cls, value: bytes) -> Picture:
        if not value.startswith(START):
            raise DamagedFile(described(value))
        size: tuple[int, int] | None = None
        mode, orientation, scans, frame = "", UPRIGHT, 0, 0
        kept, begin, end = [], 0, 0
        for name, start, end in _segments(value):
            if name in METADATA:
                kept.append(value[begin:start])
                begin = end
                if name == EXIF and orientation == UPRIGHT:
                    orientation = orientation_of(value[start:end].lstrip(b"\xff")[3:])
            elif name == SCAN:
                scans += 1
                if scans > MAX_SCANS:
                    raise DamagedFile(f"it has more than {MAX_SCANS} scans")
            elif name in FRAMES:
                header = value[start:end].lstrip(b"\xff")
                # Pillow would use the last of several headers.
                if size or len(header) < 9:
                    raise DamagedFile(f"the header at byte {start} is cut short or the second one")
                frame = name
                size = int.from_bytes(header[6:8], "big"), int.from_bytes(header[4:6], "big")
                mode = MODES_BY_COMPONENTS.get(header[8], f"of {header[8]} channels")
        if size is None or not scans:
            raise DamagedFile("it has no pixels")
        if scans * size[0] * size[1] > MAX_SCANS * MAX_PIXELS:
            raise InvalidRecord(
                "too-many-pixels",
                f"The image claims {size[0]}x{size[1]} pixels in each of {scans} scans, and at most "
                f"{MAX_SCANS * MAX_PIXELS} pixels in all of them are decoded.",
            )
        in_passes = scans > 1 or frame not in IN_ONE_PASS
        return Picture(*size, orientation, mode, b"".join([*kept, value[begin:end]]), in_passes)

    @classmethod
    def load_decoder(cls) -> None:
        super().load_decoder()
        _is_plain()

    def refusals(self, values: Sequence[bytes | None]) -> dict[int, Refusal]:
        """What `decode` says, from an eighth of the width and height: the decoder still reads the whole file."""
        if _is_plain() is None:
            return super().refusals(values)
        self.load_decoder()
        left: list[int] = []

        def check(position: int) -> None:
            if not self._decode_plain(values[position], None):
                left.append(position)

        for_each(check, len(values), threads=threads_for(values))
        left.sort()
        found = super().refusals([values[position] for position in left])
        return {left[place]: refusal for place, refusal in found.items()}

    def read(self, value: bytes | None, pixels: np.ndarray[Any, Any]) -> Refusal | None:
        return None if self._decode_plain(value, pixels) else super().read(value, pixels)

    def _decode_plain(self, value: bytes | None, pixels: np.ndarray[Any, Any] | None) -> bool:
        """Decode a file about which nothing is special, which needs no `parse`; False where something is.

        Args:
            pixels: where to; None for an eighth of the width and height, to check the file only.
        """
        import simplejpeg

        is_plain = _is_plain()
        if not value or is_plain is None or not is_plain(value, len(value), self.width, self.height, self.channels):
            return False
        size = {"min_width": 1, "min_height": 1} if pixels is None else {"buffer": pixels}
        try:
            simplejpeg.decode_jpeg(value, colorspace=COLOUR_SPACES[self.channels], **size)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - `read` decodes it again and says why
            return False
        return True

    def read_into(self, pixels: np.ndarray[Any, Any], picture: Picture) -> None:
        """Decode with libjpeg-turbo, without the GIL; its warnings are errors."""
        import simplejpeg

        if picture.mode not in MODES.values():
            super().read_into(pixels, picture)
            return
        self._check_mode(picture.mode)
        same_size = (picture.width, picture.height, picture.orientation) == (self.width, self.height, UPRIGHT)
        # A large photograph is decoded at a fraction of its size, which JPEG's frequencies allow.
        width, height = (self.width, self.height) if same_size else self._smallest_size(picture)
        one_at_a_time = picture.in_passes and self._is_large(picture)
        try:
            with _large_file if one_at_a_time else nullcontext():
                decoded = simplejpeg.decode_jpeg(
                    picture.content,
                    colorspace=COLOUR_SPACES[self.channels],
                    min_width=width,
                    min_height=height,
                    buffer=pixels if same_size else None,
                )
        except ValueError as error:
            if self._is_large(picture) or (str(error) not in HARMLESS and _is_common(picture.content)):
                raise
            super().read_into(pixels, picture)
            return
        if not same_size:
            from PIL import Image

            image = Image.fromarray(decoded[:, :, 0] if self.channels == 1 else decoded)
            self._fill(pixels, image, picture.orientation)

    def most_pixels(self, picture: Picture) -> int:
        usual = super().most_pixels(picture)
        if self.resize is None or picture.width * picture.height <= usual or picture.mode not in MODES.values():
            return usual
        if _decoded_pixels(picture, self._smallest_size(picture)) > usual:
            return usual
        return max(usual, min(MAX_SCALED_PIXELS, PIXELS_PER_BYTE * len(picture.content)))

    def advice_on_size(self) -> str:
        if self.resize:
            return super().advice_on_size()
        return "with resize in [format], photographs are decoded at a fraction of their size"

    def _smallest_size(self, picture: Picture) -> tuple[int, int]:
        """Least width and height of the decoded picture before it is resized."""
        width, height = (self.height, self.width) if picture.orientation in SIDEWAYS else (self.width, self.height)
        best, least = (
            (min(picture.width, scale * width), min(picture.height, scale * height)) for scale in (SCALE, LEAST_SCALE)
        )
        fits = not self._is_large(picture) or _decoded_pixels(picture, best) <= super().most_pixels(picture)
        return best if fits else least

    def _is_large(self, picture: Picture) -> bool:
        """Whether a picture is decoded only if a fraction of it is enough."""
        return picture.width * picture.height > super().most_pixels(picture)


@cache
def _is_plain() -> Callable[[bytes, int, int, int, int], int] | None:
    """The function of include/native/jpeg.c; None where there is no library, which is logged once."""
    try:
        function = native_library("jpeg", releases_lock=False).jpeg_is_plain
    except NoLibrary as error:
        log.info("The structure of each JPEG file is checked in Python, which takes longer (%s).", error)
        return None
    function.restype, function.argtypes = c_int, (c_char_p, c_size_t, c_uint, c_uint, c_uint)
    return cast("Callable[[bytes, int, int, int, int], int]", function)


def _decoded_pixels(picture: Picture, least: tuple[int, int]) -> int:
    """Pixels that are decoded for a least width and height: the fewest eighths that are not less."""
    for part in range(1, EIGHTHS + 1):
        width, height = (-(-side * part // EIGHTHS) for side in (picture.width, picture.height))
        if width >= least[0] and height >= least[1]:
            return width * height
    return picture.width * picture.height


def _is_common(content: bytes) -> bool:
    """Whether the fast decoder accepts the headers; Pillow decodes rare chroma subsamplings."""
    import simplejpeg

    try:
        simplejpeg.decode_jpeg_header(content)
    except ValueError:
        return False
    return True


def _segments(value: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, first byte and end of every segment, a scan's with its pixels; the last is the end marker.

    Raises:
        DamagedFile: it is cut short; Pillow itself would accept it and invent the missing rows.
    """
    name, end = 0, len(START)
    while name != END[1]:
        start = end
        marker = MARKER.match(value, start)
        if marker is None:
            raise DamagedFile(f"there is no marker at byte {start}")
        end = marker.end()
        name = value[end - 1]
        if name in SEGMENTS:
            length = int.from_bytes(value[end : end + 2], "big")
            end += length
            if length < 2 or end > len(value):
                raise DamagedFile(f"the segment at byte {start} is cut short")
            if name == SCAN:
                following = END_OF_SCAN.search(value, end)
                end = following.start() if following else len(value)
        elif name != END[1]:
            raise DamagedFile(f"the marker {name:#x} at byte {start} is not allowed there")
        yield name, start, end
