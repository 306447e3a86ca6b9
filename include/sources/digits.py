"""The 1,797 real handwritten digits that scikit-learn ships (E. Alpaydin, C. Kaynak, UCI repository, 1998)."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from include.sources.base import Source, SourceSample

if TYPE_CHECKING:
    import numpy as np

SAMPLES = 1797


class DigitsSource(Source):
    """Grayscale images of 8x8 pixels, uint8 of shape (1, 8, 8), labelled `0` to `9`."""

    kind: Literal["digits"] = "digits"

    def count(self) -> int:
        return SAMPLES  # a run that finds nothing new imports no scikit-learn

    def read(self, start: int, count: int) -> list[SourceSample]:
        images, labels = _load()
        return [
            SourceSample(id=f"digit-{position:04d}", content=images[position], label=str(labels[position]))
            for position in range(start, min(start + count, len(images)))
        ]


@cache
def _load() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Images (1797, 1, 8, 8) uint8 and labels (1797,) int64."""
    import numpy as np
    from sklearn.datasets import load_digits

    bundle = load_digits()
    # The set counts ink in 17 steps, 0 to 16.
    images = np.round(bundle.images * (255 / 16)).astype(np.uint8)
    return images[:, None], bundle.target
