"""Arrays of random numbers for load tests: by default the 100x100x3 float64 images of many Kafka tutorials."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from include.sources.base import MAX_SAMPLE_BYTES, READ_BYTES, Source, SourceSample

if TYPE_CHECKING:
    import numpy as np


class RandomSource(Source):
    """Sample `i` is a function of `seed` and `i` alone, so that a batch can be read again at any time.

    Floats are from 0 up to 1, integers from the whole range of their dtype. Labels are independent of the arrays: no
    model can do better than guessing.

    Args:
        labels: one is drawn for each sample; empty for samples without labels.
        total: the number of samples, at the end if they grow.
        per_hour: how many are added an hour from `since` on; by default all are there from the beginning.
    """

    kind: Literal["random"] = "random"
    shape: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1, max_length=32)] = (100, 100, 3)
    dtype: Literal["uint8", "int16", "int32", "float32", "float64"] = "float64"
    labels: tuple[str, ...] = ()
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1
    total: Annotated[int, Field(ge=1)] | None = None
    per_hour: Annotated[float, Field(gt=0)] | None = None
    since: AwareDatetime | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if (self.per_hour is None) != (self.since is None):
            raise ValueError("per_hour and since go together: since = 2026-01-01T00:00:00Z, say")
        if self.per_hour is None and self.total is None:
            raise ValueError("say how many samples there are, by total or by per_hour and since")
        if self._sample_bytes() > MAX_SAMPLE_BYTES:
            raise ValueError(
                f"a sample of {self._sample_bytes()} bytes is larger than the {MAX_SAMPLE_BYTES} of any record"
            )
        return self

    def count(self) -> int:
        if self.per_hour is None or self.since is None:
            return self.total or 0
        hours = (time.time() - self.since.timestamp()) / 3600
        made = max(0, math.floor(hours * self.per_hour))
        return made if self.total is None else min(made, self.total)

    def read(self, start: int, count: int) -> list[SourceSample]:
        count = min(count, self.count() - start, max(1, READ_BYTES // self._sample_bytes()))
        return [self._sample(position) for position in range(start, start + count)]

    def _sample(self, position: int) -> SourceSample:
        import numpy as np

        generator = np.random.default_rng([self.seed, position])
        content: np.ndarray[Any, Any]
        if self.dtype in ("float32", "float64"):
            content = generator.random(self.shape, np.dtype(self.dtype))
        else:
            limits = np.iinfo(self.dtype)
            content = generator.integers(limits.min, limits.max, self.shape, self.dtype, endpoint=True)
        label = str(generator.choice(self.labels)) if self.labels else None
        return SourceSample(f"random-{self.seed}-{position:09}", content, label)

    def _sample_bytes(self) -> int:
        import numpy as np

        return math.prod(self.shape) * np.dtype(self.dtype).itemsize
