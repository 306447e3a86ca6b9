"""What makes pictures of any size and colours samples of one format: channels, the right way up, size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from include.codecs._exif import UPRIGHT

if TYPE_CHECKING:
    from PIL.Image import Image

Resize = Literal["stretch", "crop", "pad"]

# Far larger pictures are averaged down to so many times the wanted size before they are filtered: nobody sees it, and
# the filter's weights for a picture of 16 million pixels in one row would take hundreds of megabytes.
REDUCED_TO = 3.0


def in_channels(image: Image, mode: str) -> Image:
    """The picture in Pillow's mode `L` or `RGB`: on white where it is transparent, the upper 8 bits of 16."""
    import numpy as np
    from PIL import Image

    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        paper.alpha_composite(image.convert("RGBA"))
        image = paper
    return image.convert(mode)


def upright(image: Image, orientation: int) -> Image:
    """The picture turned and mirrored as EXIF's orientation asks for."""
    from PIL.Image import Transpose

    if orientation == UPRIGHT:
        return image
    ways = (
        Transpose.FLIP_LEFT_RIGHT,
        Transpose.ROTATE_180,
        Transpose.FLIP_TOP_BOTTOM,
        Transpose.TRANSPOSE,
        Transpose.ROTATE_270,
        Transpose.TRANSVERSE,
        Transpose.ROTATE_90,
    )
    return image.transpose(ways[orientation - 2])


def resized(image: Image, width: int, height: int, way: Resize) -> Image:
    """The picture in another size, through a Lanczos filter.

    Args:
        way: `stretch` gives up its proportions, `crop` what is not in its middle, and `pad` puts black beside it.
    """
    from PIL import Image

    lanczos = Image.Resampling.LANCZOS
    if way == "stretch":
        return image.resize((width, height), lanczos, reducing_gap=REDUCED_TO)
    scales = width / image.width, height / image.height
    if way == "crop":
        part = min(image.width, width / max(scales)), min(image.height, height / max(scales))
        left, top = (image.width - part[0]) / 2, (image.height - part[1]) / 2
        box = (left, top, min(image.width, left + part[0]), min(image.height, top + part[1]))
        return image.resize((width, height), lanczos, box=box, reducing_gap=REDUCED_TO)
    inner = max(1, round(image.width * min(scales))), max(1, round(image.height * min(scales)))
    padded = Image.new(image.mode, (width, height))
    corner = (width - inner[0]) // 2, (height - inner[1]) // 2
    padded.paste(image.resize(inner, lanczos, reducing_gap=REDUCED_TO), corner)
    return padded
