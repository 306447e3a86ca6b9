"""A survey of a table with a number for each pixel: a column each, or all of them in one cell."""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING, Any

from include.codecs.raw import RawCodec
from include.commands.image_format import NoPipelineFits
from include.commands.survey import LOOKED_AT, Survey
from include.commands.table_survey import LabelledTable
from include.number_text import number_in
from include.sources.table import WILDCARDS, TableSource

if TYPE_CHECKING:
    import numpy as np

# A cell of fewer numbers is no image.
FEWEST_PIXELS = 16
PROBED_ROWS = 20
# The largest numbers of pixels of 8, 10, 12 and 16 bits.
FULL_SCALES = (255, 1023, 4095, 65_535)


def survey_pixels(table: LabelledTable) -> Survey | None:
    """The images of the rows; None if one column holds something other than lists of numbers.

    Raises:
        NoPipelineFits: the numbers of a row are no image.
    """
    import numpy as np

    content = table.content[0] if len(table.content) == 1 else list(table.content)
    numbers = _numbers_in_a_row(table, content)
    if numbers is None:
        return None
    flat = _source(table, content, (numbers,))
    samples = list(flat.open().spread(LOOKED_AT))
    valid = [sample.content for sample in samples if not sample.fault and not isinstance(sample.content, bytes)]
    if not valid:
        raise NoPipelineFits(
            f"None of the {len(samples)} rows of {table.path} that were opened has {numbers} numbers, {samples[0].id}: "
            f"{samples[0].fault} Name the columns of the pixels with --content."
        )
    pixels = np.stack(valid)
    shape, channels_last, notes = _shape_of(table, pixels)
    dtype, scale = _range_of(pixels)
    codec = RawCodec.model_validate({"shape": shape, "dtype": dtype, "scale": scale, "channels_last": channels_last})
    channels, height, width = codec.input_shape
    return Survey(
        noun="image",
        source=table.with_content(content=content, content_is="numbers", shape=list(shape), dtype=dtype),
        codec=codec,
        form=f"{width}x{height} pixels, {'gray' if channels == 1 else 'RGB'}, from {numbers:,} numbers a row",
        largest=codec.sample_bytes,
        opened=len(samples),
        unfit=tuple(f"{sample.id}: {sample.fault}" for sample in samples if sample.fault),
        notes=(*table.notes, *notes),
        **table.counts,
    )


def _numbers_in_a_row(table: LabelledTable, content: str | list[str]) -> int | None:
    if isinstance(content, list) or any(sign in content for sign in WILDCARDS):
        return len(_source(table, content, (1,)).open().content_columns())
    source = TableSource.model_validate({**table.settings, "content": content}).open()
    rows = sum(source.size_of(file).rows for file in source.files())
    cells = [cell for (cell,) in source.texts([content], step=max(1, rows // PROBED_ROWS)) if cell]
    counts = {_numbers_in(cell) for cell in cells}
    most = max(counts, default=0)
    return most if most >= FEWEST_PIXELS and len(counts - {0}) == 1 else None


def _numbers_in(cell: str) -> int:
    """How many numbers a text lists; 0 if it lists something else."""
    parts = cell.translate(str.maketrans("[](),;", "      ")).split()
    return 0 if None in map(number_in, parts) else len(parts)


def _source(table: LabelledTable, content: str | list[str], shape: tuple[int, ...]) -> TableSource:
    settings = {"content": content, "content_is": "numbers", "shape": shape, "dtype": "float64"}
    return TableSource.model_validate({**table.settings, **settings})


def _shape_of(table: LabelledTable, pixels: np.ndarray[Any, Any]) -> tuple[tuple[int, int, int], bool, list[str]]:
    """The shape of an image, whether its channels come last, and a note for the user.

    Args:
        pixels: float64 (rows, numbers).
    """
    numbers = pixels.shape[1]
    if (side := isqrt(numbers)) ** 2 == numbers:
        return (1, side, side), False, []
    side = isqrt(numbers // 3)
    if 3 * side**2 != numbers:
        raise NoPipelineFits(
            f"A row of {table.path} has {numbers:,} numbers, which are no square image, gray or RGB: name the columns "
            "of the pixels with --content, or write the pipeline's file by hand with the shape."
        )
    # Pixels beside each other differ less than pixels that only seem to be.
    together = abs(pixels.reshape(-1, side, side, 3)[:, :, 1:] - pixels.reshape(-1, side, side, 3)[:, :, :-1]).mean()
    apart = abs(pixels.reshape(-1, 3, side, side)[..., 1:] - pixels.reshape(-1, 3, side, side)[..., :-1]).mean()
    if together <= apart:
        return (side, side, 3), True, ["The numbers of a pixel's three colours follow each other, by their values."]
    return (3, side, side), False, ["All numbers of one colour come before those of the next, by their values."]


def _range_of(pixels: np.ndarray[Any, Any]) -> tuple[str, float]:
    """The dtype that holds the numbers, and the factor that makes the largest 1."""
    lowest, highest = float(pixels.min()), float(pixels.max())
    full = next((full for full in FULL_SCALES if highest <= full), None)
    if lowest < 0 or full is None or highest <= 1:
        return "float32", 1.0 / max(1.0, -lowest, highest)
    if (pixels != pixels.round()).any():
        return "float32", 1.0 / full
    return ("uint8" if full == FULL_SCALES[0] else "int32"), 1.0 / full
