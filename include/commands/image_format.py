"""The format for a set of images: with their own size and colours, or converted to common ones."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

from include.codecs import MODES, ImageCodec, decoder_like, described, image_format_of, is_deep, largest_value
from include.definition.kinds import KINDS
from include.errors import PermanentError, amount

SHOWN = 5
# The input size of pretrained networks and most tutorials, and still trainable on a CPU.
USUAL_SIDE = 224
MAX_PIXELS_AS_THEY_ARE = 512 * 512
ANYTHING = {"height": 8, "width": 8, "channels": 3, "resize": "crop", "colours": "convert", "bits": 16}
GRAY = frozenset({"1", "L", "LA"})
LOSSLESS = "PNG"
# Cameras, scanners and microscopes write values of so many bits into 16.
USUAL_BITS = (8, 10, 12, 14, 16)


class NoPipelineFits(PermanentError):
    """No pipeline can be written for these data."""


def image_codecs() -> dict[str, type[ImageCodec]]:
    return {kind.pillow_format: kind for kind in KINDS["format"].values() if issubclass(kind, ImageCodec)}


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


def format_of(path: str, images: Iterable[tuple[str, Any]]) -> ImageFormat:
    """The format for the images; without conversion if all have one file format, size and mode.

    Raises:
        NoPipelineFits: none of them is valid.
    """
    sizes: Counter[tuple[int, int]] = Counter()
    modes: Counter[str] = Counter()
    names: Counter[str] = Counter()
    unfit: list[str] = []
    largest_values: list[int] = []
    anything = image_codecs()[LOSSLESS].model_validate(ANYTHING)
    for sample, content in images:
        name = image_format_of(content)
        if not name:
            unfit.append(f"{sample}: no image, {described(content)}.")
            continue
        decoder = decoder_like(anything, name)
        if refusals := decoder.decode([content]).refusals:
            unfit.append(f"{sample}: {refusals[0].error}")
            continue
        names[name] += 1
        picture = decoder.parse(bytes(content))
        sizes[picture.upright_size] += 1
        with decoder.opened(picture) as image:
            if is_deep(image):
                largest_values.append(largest_value(image, partial(decoder.opened, picture)))
            modes["L" if image.mode.startswith("I;16") else image.mode] += 1
    if not sizes:
        raise NoPipelineFits(
            f"None of the {len(unfit)} images in {path} that were opened is valid, {unfit[0].rstrip('.')}: look at "
            "them, or correct --path."
        )
    kind, turning = _kind_of(names)
    size, resizing = _size_of(sizes)
    channels, converting = _channels_of(modes)
    depth, scaling = _depth_of(largest_values)
    settings = {**size, **channels, **depth}
    return ImageFormat(kind.model_validate(settings), tuple(unfit), (*turning, *resizing, *converting, *scaling))


def _kind_of(names: Counter[str]) -> tuple[type[ImageCodec], list[str]]:
    """The kind of most images or, where no topic takes that, a lossless one, and a note for the user."""
    codecs = image_codecs()
    most = max(names, key=lambda name: (names[name], name == LOSSLESS))
    kind = codecs.get(most, codecs[LOSSLESS])
    if set(names) == {kind.pillow_format}:
        return kind, []
    loss = "without loss"
    if "quality" in kind.pillow_settings:
        loss = f"at quality {kind.pillow_settings['quality']}; kind = 'image.png' would convert all without loss"
    note = f"The images' formats are {counted(names.elements())}: images of another format than {kind.pillow_format}"
    return kind, [f"{note} are converted to it as they are sent, {loss}."]


def _size_of(sizes: Counter[tuple[int, int]]) -> tuple[dict[str, Any], list[str]]:
    """Height and width, whether images are resized to them, and a note for the user."""
    width, height = next(iter(sizes))
    if len(sizes) == 1 and width * height <= MAX_PIXELS_AS_THEY_ARE:
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


def _depth_of(largest_values: list[int]) -> tuple[dict[str, Any], list[str]]:
    """The bits of images of 16 bits a channel, and a note for the user.

    Args:
        largest_values: of each of these images.
    """
    if not largest_values:
        return {}, []
    largest = max(largest_values)
    bits = next(bits for bits in USUAL_BITS if largest < 2**bits)
    note = (
        f"{len(largest_values)} images have 16 bits a channel and values up to {largest}: the file says bits = {bits}, "
        f"by which 0 to {2**bits - 1} become 0 to 255."
    )
    return {"bits": bits}, [note]


def counted(names: Iterable[str]) -> str:
    """`30 of .png, 2 of .txt and 3 others`, the most frequent first."""
    counts = Counter(names)
    shown = [f"{count} of {name}" for name, count in counts.most_common(SHOWN)]
    others = counts.total() - sum(count for _, count in counts.most_common(SHOWN))
    return ", ".join(shown) + (f" and {amount(others, 'other')}" if others else "")
