"""What the inputs of rows depend on beside a row itself: mean and deviation of numbers, vocabularies of categories."""

from collections import Counter
from collections.abc import Sequence

from include.errors import PermanentError
from include.kinds import Config
from include.targets.regression import ScaleFinder

# A column with more different texts has ids or free text, which would not fit into memory.
MAX_TEXTS = 1_000_000


class NoCategory(PermanentError):
    """A column of categories has too many different texts."""


class RowStatistics(Config):
    """The statistics of the training samples.

    Attributes:
        mean, deviation: of each number, over the rows that have it; 0 and 1 where none has.
        vocabularies: the texts of each category, the most frequent first and equally frequent ones in their order.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    vocabularies: tuple[tuple[str, ...], ...]


class RowCounter:
    """Collects the statistics of rows; in the same order, the result is the same to the bit."""

    def __init__(self, numbers: Sequence[str], categories: Sequence[str]) -> None:
        self._numbers = [ScaleFinder() for _ in numbers]
        self._categories = {column: Counter[str]() for column in categories}

    def add(self, numbers: Sequence[Sequence[float | None]], categories: Sequence[Sequence[str | None]]) -> None:
        """Add rows, each with a number or text for each column, or None where it is missing.

        Raises:
            NoCategory: a column has more different texts than `MAX_TEXTS`.
        """
        import numpy as np

        for position, finder in enumerate(self._numbers):
            present = [row[position] for row in numbers if row[position] is not None]
            finder.add(np.array(present, np.float64).reshape(-1, 1))
        for position, (column, counts) in enumerate(self._categories.items()):
            counts.update(text for row in categories if (text := row[position]) is not None)
            if len(counts) > MAX_TEXTS:
                raise NoCategory(
                    f"Column {column!r} has more than {MAX_TEXTS:,} different texts among the training samples: take "
                    "it out of categories in [format]."
                )

    def statistics(self, most: int) -> RowStatistics:
        """The statistics so far; a vocabulary has at most `most` texts."""
        scales = [finder.scale() for finder in self._numbers]
        return RowStatistics(
            mean=tuple(0.0 if scale is None else scale.mean[0] for scale in scales),
            deviation=tuple(1.0 if scale is None else scale.deviation[0] for scale in scales),
            vocabularies=tuple(
                tuple(sorted(counts, key=lambda text: (-counts[text], text))[:most])
                for counts in self._categories.values()
            ),
        )
