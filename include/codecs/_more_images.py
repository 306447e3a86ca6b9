"""Image files that sources may hold and that no topic has: BMP, GIF and TIFF."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from include.codecs._exif import UPRIGHT
from include.codecs._file_type import described, image_format_of
from include.codecs._image import DamagedFile, ImageCodec, Picture
from include.refusal import InvalidRecord

if TYPE_CHECKING:
    from PIL.Image import Image

# Tags of TIFF 6.0.
SUBFILE, BITS, PHOTOMETRIC, PLANAR = 254, 258, 262, 284
REDUCED = 1  # of SUBFILE: a smaller version of another page
WHITE_IS_ZERO, SEPARATE_PLANES = 0, 2


class PillowImage(ImageCodec):
    """A format whose structure Pillow itself checks."""

    @classmethod
    def parse(cls, value: bytes) -> Picture:
        import PIL.Image

        if image_format_of(value) != cls.pillow_format:
            raise DamagedFile(described(value))
        # Not Image.open, which warns of sizes that are refused here.
        factory, _ = PIL.Image.OPEN[cls.pillow_format]
        with factory(io.BytesIO(value), "") as image:
            cls.check_file(image)
            return Picture(*image.size, UPRIGHT, "", value)

    def opened(self, picture: Picture) -> Image:
        """The picture, with a palette resolved to its colours, or to gray where all of them are gray.

        A GIF always has a palette, so the palette does not say whether the picture is meant to be gray.
        """
        import numpy as np

        image = super().opened(picture)
        if image.mode != "P":
            return image
        if image.has_transparency_data:
            return image.convert("RGBA")
        colours = image.convert("RGB")
        pixels = np.asarray(colours)
        return colours.convert("L") if (pixels == pixels[:, :, :1]).all() else colours

    @classmethod
    def check_file(cls, image: Any) -> None:
        """Refuse an opened file, no pixel of which is decoded, that has no one meaning as a picture.

        Raises:
            InvalidRecord, DamagedFile: saying why.
        """


class BmpImage(PillowImage):
    kind: Literal["image.bmp"] = "image.bmp"
    pillow_format: ClassVar[str] = "BMP"


class GifImage(PillowImage):
    """The first frame counts."""

    kind: Literal["image.gif"] = "image.gif"
    pillow_format: ClassVar[str] = "GIF"


class TiffImage(PillowImage):
    """One page, beside which may only be smaller versions of it."""

    kind: Literal["image.tiff"] = "image.tiff"
    pillow_format: ClassVar[str] = "TIFF"

    @classmethod
    def check_file(cls, image: Any) -> None:
        tags = image.tag_v2
        if tags.get(SUBFILE, 0) & REDUCED:
            raise DamagedFile("its first page is a preview, as in the raw files of cameras")
        if max(tags.get(BITS, (1,))) > 8:
            if tags.get(PLANAR) == SEPARATE_PLANES and len(tags[BITS]) > 1:
                raise InvalidRecord("wrong-channels", "The TIFF has 16 bits a channel in separate planes.")
            if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
                raise InvalidRecord("wrong-channels", "The TIFF has 16 bits a channel, of which zero is white.")
        try:
            image.seek(1)
        except EOFError:
            return
        if not image.tag_v2.get(SUBFILE, 0) & REDUCED:
            raise InvalidRecord("animated", "The TIFF has several pages, and a sample is a single picture.")
        image.seek(0)
