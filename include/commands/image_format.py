"""The format for a set of images: with their own size and colours, or converted to common ones."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

from include.codecs import MODES, ImageCodec
from include.definition.kinds import KINDS
from include.errors import PermanentError

SHOWN = 5
# The input size of pretrained networks and most tutorials, and still trainable on a CPU.
USUAL_SIDE = 224
LARGEST_AS_IT_IS = 512 * 512
SMALL = {"height": 8, "width": 8}
GRAY = frozenset({"1", "L", "LA", "I;16"})


class NoPipelineFits(PermanentError):
    """No pipeline can be written for these data."""


def image_codecs() -> dict[str, type[ImageCodec]]:
    """The image formats by Pillow's name."""
    return {kind.pillow_format: kind for kind in KINDS["format"].values() if issubclass(kind, ImageCodec)}


def pillow_format_of(content: Any) -> str:
    """The format by the first bytes, empty if it is none of these."""
    from PIL import Image

    with warnings.catch_warnings():
        # Pillow warns about sizes that the codec refuses.
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(content), formats=list(image_codecs())) as image:
                return image.format or ""
        except Exception:  # noqa: BLE001 - Pillow fails in many ways
            return ""


@dataclass(frozen=True)
class ImageFormat:
    """The one format of many images.

    Attributes:
        codec: decodes all valid images.
        unfit: the invalid ones, each with its reason.
        notes: sentences on what differs among the images, and how the format converts it.
    """

    codec: ImageCodec
    unfit: tuple[str, ...]
    notes: tuple[str, ...]


def format_of(path: str, pillow_format: str, images: Iterable[tuple[str, Any]]) -> ImageFormat:
    """The format for the images; without conversion if all have one size and mode.

    Raises:
        NoPipelineFits: none of them is valid.
    """
    kind = image_codecs()[pillow_format]
    sizes: Counter[tuple[int, int]] = Counter()
    modes: Counter[str] = Counter()
    unfit: list[str] = []
    anything = kind.model_validate({**SMALL, "channels": 3, "resize": "crop", "colours": "convert"})
    for name, content in images:
        if refusals := anything.decode([content]).refusals:
            unfit.append(f"{name}: {refusals[0].error}")
            continue
        sizes[kind.parse(bytes(content)).upright_size] += 1
        modes[_mode(pillow_format, content)] += 1
    if not sizes:
        raise NoPipelineFits(
            f"None of the {len(unfit)} images in {path} that were opened is valid, {unfit[0].rstrip('.')}: look at "
            "them, or correct --path."
        )
    size, resizing = _size_of(sizes)
    channels, converting = _channels_of(modes)
    settings = {**size, **channels}
    return ImageFormat(kind.model_validate(settings), tuple(unfit), (*resizing, *converting))


def _size_of(sizes: Counter[tuple[int, int]]) -> tuple[dict[str, Any], list[str]]:
    """Height and width, whether images are resized to them, and a note for the user."""
    width, height = next(iter(sizes))
    if len(sizes) == 1 and width * height <= LARGEST_AS_IT_IS:
        return {"height": height, "width": width}, []
    side = min(USUAL_SIDE, int(median(min(size) for size in sizes.elements())))
    what = (
        f"The images have {width}x{height} pixels, which makes training slow"
        if len(sizes) == 1
        else f"The images have {len(sizes)} sizes, {counted(f'{w}x{h}' for w, h in sizes.elements())}"
    )
    note = f"{what}: the file says to resize and crop them to {side}x{side}, which you may change."
    return {"height": side, "width": side, "resize": "crop"}, [note]


def _channels_of(modes: Counter[str]) -> tuple[dict[str, Any], list[str]]:
    """Channels, whether colours are converted to them, and a note for the user."""
    for channels, mode in MODES.items():
        if set(modes) == {mode}:
            return {"channels": channels}, []
    channels = 1 if set(modes) <= GRAY else 3
    target = "gray" if channels == 1 else "RGB, on white where they are transparent"
    note = f"The images' modes are {counted(modes.elements())}: the file says to convert them to {target}."
    return {"channels": channels, "colours": "convert"}, [note]


def _mode(pillow_format: str, content: Any) -> str:
    """Pillow's name for the channels of a valid image."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(content), formats=[pillow_format]) as image:
            return image.mode


def counted(names: Iterable[str]) -> str:
    """`30 of .png, 2 of .txt and 3 others`, the most frequent first."""
    counts = Counter(names)
    shown = [f"{count} of {name}" for name, count in counts.most_common(SHOWN)]
    others = counts.total() - sum(count for _, count in counts.most_common(SHOWN))
    return ", ".join(shown) + (f" and {others} others" if others else "")
