"""Convert pictures of any size and colours to one format: channels, orientation, size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from include.codecs._exif import UPRIGHT

if TYPE_CHECKING:
    from PIL.Image import Image

Resize = Literal["stretch", "crop", "pad"]

# Far larger pictures are averaged down to this multiple of the target size before the filter. It looks the same, and
# the filter's weights for a row of 16 million pixels would take hundreds of megabytes.
REDUCED_TO = 3.0


def in_channels(image: Image, mode: str) -> Image:
    """The picture in Pillow's mode `L` or `RGB`: transparent pixels on white."""
    from PIL import Image

    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        paper.alpha_composite(image.convert("RGBA"))
        image = paper
    return image.convert(mode)


def upright(image: Image, orientation: int) -> Image:
    """The picture rotated and mirrored by EXIF's orientation."""
    from PIL.Image import Transpose

    if orientation == UPRIGHT:
        return image
    transpositions = (
        Transpose.FLIP_LEFT_RIGHT,
        Transpose.ROTATE_180,
        Transpose.FLIP_TOP_BOTTOM,
        Transpose.TRANSPOSE,
        Transpose.ROTATE_270,
        Transpose.TRANSVERSE,
        Transpose.ROTATE_90,
    )
    return image.transpose(transpositions[orientation - 2])


def resized(image: Image, width: int, height: int, how: Resize) -> Image:
    """The picture in another size, through a Lanczos filter.

    Args:
        how: `stretch` changes the proportions, `crop` keeps the middle, and `pad` adds black borders.
    """
    from PIL import Image

    lanczos = Image.Resampling.LANCZOS
    if how == "stretch":
        return image.resize((width, height), lanczos, reducing_gap=REDUCED_TO)
    scales = width / image.width, height / image.height
    if how == "crop":
        part = min(image.width, width / max(scales)), min(image.height, height / max(scales))
        left, top = (image.width - part[0]) / 2, (image.height - part[1]) / 2
        box = (left, top, min(image.width, left + part[0]), min(image.height, top + part[1]))
        return image.resize((width, height), lanczos, box=box, reducing_gap=REDUCED_TO)
    inner = max(1, round(image.width * min(scales))), max(1, round(image.height * min(scales)))
    padded = Image.new(image.mode, (width, height))
    corner = (width - inner[0]) // 2, (height - inner[1]) // 2
    padded.paste(image.resize(inner, lanczos, reducing_gap=REDUCED_TO), corner)
    return padded
