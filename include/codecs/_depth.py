"""Images of 16 bits a channel as 8-bit ones, by the number of bits that their values really have.

Cameras, scanners and microscopes of 10 to 14 bits write their values unscaled into 16. The upper 8 of 16 bits would
keep 16 of the 4096 levels of 12.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from include.refusal import InvalidRecord

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    Bytes = np.ndarray[Any, np.dtype[np.uint8]]

# Where the number of bits is not set, an image whose values all fit into fewer is refused.
LEAST_BITS = 14
# Pillow unpacks the first or the second byte of each channel, by the order that its raw mode names.
BOTH_ORDERS = re.compile(r"((?:RGB|RGBX|RGBA);16)([BLN])")
OTHER_ORDER = {"B": "L", "L": "B", "N": "B"}  # N is little-endian on every machine that Millrace runs on
GRAY_ALPHA = "LA;16B"
# Pixels that are scaled at a time.
PART = 2**20


def is_deep(image: Image) -> bool:
    """Whether an opened image has more than 8 bits a channel, which Pillow shows in its mode only for gray."""
    if image.mode.startswith("I;16"):
        return True
    tiles = getattr(image, "tile", ())
    return any(";16" in (tile.args if isinstance(tile.args, str) else str(tile.args[0])) for tile in tiles if tile.args)


def in_eight_bits(image: Image, reopen: Callable[[], Image], bits: int | None) -> Image:
    """An opened image that `is_deep`, in Pillow's mode L, LA, RGB or RGBA.

    Args:
        reopen: opens the same file again.
        bits: of the values of a colour; None for 16, unless that would lose most of them.

    Raises:
        InvalidRecord: values are larger than `bits` allow; or it is None and all of them are small.
    """
    import numpy as np
    from PIL import Image

    high, low = _bytes_of(image, reopen)
    largest, largest_alpha = _largest(high, low)
    shift = _bits_of(largest, bits) - 8
    for rows, values in _parts(high, low):
        high[rows] = (values >> shift).astype(np.uint8)
        # Alpha mostly has 16 bits whatever the colours have.
        if largest_alpha >> 8 >> shift:
            high[rows, :, -1] = (values[..., -1] >> 8).astype(np.uint8)
    return Image.fromarray(high)


def largest_value(image: Image, reopen: Callable[[], Image]) -> int:
    """The largest value of a colour in an opened image that `is_deep`."""
    return _largest(*_bytes_of(image, reopen))[0]


def _largest(high: Bytes, low: Bytes) -> tuple[int, int]:
    """The largest values of a colour and of alpha, which is 0 where there is none."""
    if high.ndim == 2 or high.shape[2] == 3:
        return max(int(values.max()) for _, values in _parts(high, low)), 0
    of_parts = [(int(values[..., :-1].max()), int(values[..., -1].max())) for _, values in _parts(high, low)]
    return max(colour for colour, _ in of_parts), max(alpha for _, alpha in of_parts)


def _bits_of(largest: int, bits: int | None) -> int:
    if bits is None:
        if 0 < largest < 2**LEAST_BITS:
            raise InvalidRecord(
                "wrong-depth",
                f"The image has 16 bits a channel and no value beyond {largest}, so that 8 bits would keep "
                f"{(largest >> 8) + 1} levels: set bits = {max(8, largest.bit_length())} in [format], or 16 where dark "
                "images are right.",
            )
        return 16
    if largest >= 2**bits:
        raise InvalidRecord(
            "wrong-depth", f"The image has values up to {largest}, and bits = {bits} of [format] allows {2**bits - 1}."
        )
    return bits


def _bytes_of(image: Image, reopen: Callable[[], Image]) -> tuple[Bytes, Bytes]:
    """The upper and the lower byte of each value, (height, width) or (height, width, channels)."""
    import numpy as np

    if image.mode.startswith("I;16"):
        values = np.asarray(image)
        return (values >> 8).astype(np.uint8), (values & 255).astype(np.uint8)
    raw_modes = _raw_modes(image)
    if raw_modes == {GRAY_ALPHA}:
        _unpack_as(image, "RGBA")
        four = np.asarray(image)
        return four[..., 0::2].copy(), four[..., 1::2].copy()
    orders = {BOTH_ORDERS.fullmatch(raw_mode) for raw_mode in raw_modes}
    (order,) = orders if len(orders) == 1 else (None,)
    if order is None:
        raise InvalidRecord(
            "wrong-channels", f"The image has 16 bits a channel in the form {', '.join(sorted(raw_modes))}."
        )
    high = np.array(image)
    with reopen() as again:
        _unpack_as(again, order[1] + OTHER_ORDER[order[2]])
        return high, np.asarray(again)


def _parts(high: Bytes, low: Bytes) -> Iterator[tuple[slice, np.ndarray[Any, Any]]]:
    """Rows of the image, and their values: all at once would take twice as much memory as the image."""
    import numpy as np

    step = max(1, PART // high.shape[1])
    for row in range(0, len(high), step):
        rows = slice(row, row + step)
        yield rows, high[rows].astype(np.uint16) << 8 | low[rows]


def _raw_modes(image: Image) -> set[str]:
    """How the parts of an opened file are unpacked."""
    tiles: Any = getattr(image, "tile", ())
    return {tile.args if isinstance(tile.args, str) else str(tile.args[0]) for tile in tiles if tile.args}


def _unpack_as(image: Any, raw_mode: str) -> None:
    image.tile = [
        tile._replace(args=raw_mode if isinstance(tile.args, str) else (raw_mode, *tile.args[1:]))
        for tile in image.tile
    ]
