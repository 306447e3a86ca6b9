"""Which format images have: one kind, size and number of channels, or no pipeline takes them."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from include.codecs.image import MODES, ImageCodec
from include.errors import PermanentError
from include.pipeline import KINDS

SHOWN = 5


class NoPipelineFits(PermanentError):
    """No pipeline could learn from these data as they are."""


def image_codecs() -> dict[str, type[ImageCodec]]:
    """The image formats by Pillow's name."""
    return {kind.pillow_format: kind for kind in KINDS["format"].values() if issubclass(kind, ImageCodec)}


def pillow_format_of(content: Any) -> str:
    """Which of the formats it is by its first bytes, empty where it is none."""
    from PIL import Image

    with warnings.catch_warnings():
        # About sizes that the codec refuses.
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(content), formats=list(image_codecs())) as image:
                return image.format or ""
        except Exception:  # noqa: BLE001 - Pillow fails in many ways
            return ""


def format_of(path: str, pillow_format: str, images: Iterable[tuple[str, Any]]) -> tuple[ImageCodec, tuple[str, ...]]:
    """The one format of all images that are whole, and which are not."""
    kind = image_codecs()[pillow_format]
    sizes: Counter[str] = Counter()
    modes: Counter[str] = Counter()
    unfit: list[str] = []
    codec: ImageCodec | None = None
    for name, content in images:
        looked = _look(kind, content)
        if isinstance(looked, str):
            unfit.append(f"{name}: {looked}")
            continue
        width, height, mode = looked
        channels = next((channels for channels, known in MODES.items() if known == mode), None)
        if channels is not None:
            codec = kind.model_validate({"height": height, "width": width, "channels": channels})
            if refusals := codec.decode([content]).refusals:
                unfit.append(f"{name}: {refusals[0].error}")
                continue
        sizes[f"{width}x{height}"] += 1
        modes[mode] += 1
    if not sizes:
        raise NoPipelineFits(
            f"None of the {len(unfit)} images in {path} that were looked at is whole and of a size that a pipeline "
            f"takes, {unfit[0].rstrip('.')}: look at them, or correct --path."
        )
    if len(sizes) > 1:
        raise NoPipelineFits(
            f"The images in {path} have {len(sizes)} sizes, {counted(sizes.elements())} among the {sizes.total()} "
            "looked at, and a format has one: resize them all to one, with PIL.ImageOps.fit for instance."
        )
    if len(modes) > 1 or codec is None:
        raise NoPipelineFits(
            f"The images in {path} have other modes than one of {' and '.join(MODES.values())}, "
            f"{counted(modes.elements())} among the {modes.total()} looked at, and a format has one: convert them "
            "all, with Image.convert('RGB') for instance."
        )
    return codec, tuple(unfit)


def _look(kind: type[ImageCodec], content: Any) -> tuple[int, int, str] | str:
    """Width, height and mode as the file's header tells them, or why no pipeline takes it."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(content), formats=[kind.pillow_format]) as image:
                width, height = image.size
                mode = image.mode
            kind.model_validate({"height": height, "width": width})
        except ValidationError:
            return f"it has {width}x{height} pixels and no format has so many"
        except Exception:  # noqa: BLE001 - Pillow fails in many ways
            return f"it is no whole {kind.pillow_format} image"
    return width, height, mode


def counted(names: Iterable[str]) -> str:
    """`30 of .png, 2 of .txt and 3 others`, the most frequent first."""
    counts = Counter(names)
    shown = [f"{count} of {name}" for name, count in counts.most_common(SHOWN)]
    others = counts.total() - sum(count for _, count in counts.most_common(SHOWN))
    return ", ".join(shown) + (f" and {others} others" if others else "")
