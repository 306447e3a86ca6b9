"""What a codec is: decoding never raises for a bad value, it returns a refusal with the value's position."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from include.codecs._row_statistics import RowStatistics
from include.kinds import Config
from include.refusal import InvalidRecord, Refusal

if TYPE_CHECKING:
    import numpy as np
    import torch


Content = TypeVar("Content")


@dataclass(frozen=True)
class DecodedBatch:
    """The samples of a list of values.

    Attributes:
        samples: array of shape (n, *sample_shape) in the codec's dtype.
        positions: int64 array of shape (n,): which value each sample came from, ascending.
        refusals: why each of the other values is no sample, by its position.
    """

    samples: np.ndarray[Any, Any]
    positions: np.ndarray[Any, Any]
    refusals: dict[int, Refusal] = field(default_factory=dict)


class Codec(Config):
    """Settings of a `[format]` table, and the encoding that they define."""

    kind: str

    @property
    def schema_name(self) -> str:
        """The `schema` header of a record in this format: kind and version."""
        return f"{self.kind}/1"

    @property
    @abstractmethod
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one decoded sample; images are (channels, height, width)."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the network's input for one sample, see `to_inputs`."""
        return self.sample_shape

    @property
    def copies(self) -> bool:
        """Whether a record's value is the sample's own bytes, so that decoding is mere copying."""
        return False

    @property
    def statistics(self) -> RowStatistics | None:
        """What the inputs depend on beside the sample itself; None where that is nothing, or not known yet."""
        return None

    def counting(self) -> Codec | None:
        """A copy that collects its `statistics` from what it decodes; None where inputs depend on the sample alone."""
        return None

    def with_statistics(self, statistics: RowStatistics | None) -> Codec:  # noqa: ARG002 - kinds use it
        """The codec whose inputs depend on these statistics."""
        return self

    @property
    def described(self) -> tuple[str, ...]:
        """The names of the statistics of one input, see `describe`."""
        return ("mean", "deviation")

    def describe(self, inputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """A few numbers about each of float32 inputs (n, *input_shape), float32 (n, statistics).

        They show whether the inputs of a model are still like those that it has learnt from.
        """
        import numpy as np

        rows = inputs.reshape(len(inputs), math.prod(self.input_shape))
        # One by one, as float64 of a whole batch of photographs has a gigabyte.
        return statistics_of([(float(row.mean(dtype=np.float64)), float(row.std(dtype=np.float64))) for row in rows], 2)

    @abstractmethod
    def encode(self, sample: np.ndarray[Any, Any]) -> bytes:
        """One sample of `sample_shape` as a record's value.

        Raises:
            ValueError: shape or dtype do not fit the format.
        """

    @abstractmethod
    def decode(self, values: Sequence[bytes | None]) -> DecodedBatch:
        """Decode a list of record values; each becomes a sample or a refusal."""

    def refusals(self, values: Sequence[bytes | None]) -> dict[int, Refusal]:
        """Why some of the values are no samples, by position: what `decode` says of them."""
        return self.decode(values).refusals

    def decode_ahead(
        self,
        values: Sequence[bytes | None],
        pool: ThreadPoolExecutor,  # noqa: ARG002 - kinds use it
    ) -> Callable[[], DecodedBatch]:
        """Begin to decode in the pool, where the format is worth it; the function gives what `decode` would."""
        return partial(self.decode, values)

    @abstractmethod
    def to_inputs(self, samples: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Decoded samples as float32 inputs (n, *input_shape)."""

    def for_device(self, samples: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Decoded samples as they move to a network's device: inputs, or what `on_device` makes them of."""
        return self.to_inputs(samples)

    def on_device(self, batch: torch.Tensor) -> torch.Tensor:
        """What `for_device` returned, on any device, as inputs there; training and prediction share it.

        They are float32 (n, *input_shape), the same bits as those of `to_inputs`.
        """
        return batch


def statistics_of(rows: Sequence[Sequence[float]], count: int) -> np.ndarray[Any, Any]:
    """What `Codec.describe` returns, from `count` numbers of each input."""
    import numpy as np

    return np.array(rows, np.float32).reshape(len(rows), count)


def read_each(
    values: Sequence[bytes | None], read: Callable[[bytes], Content], expected: str
) -> tuple[list[Content], list[int], dict[int, Refusal]]:
    """What `read` returns for the values that it accepts, their positions, and by position why the others are refused.

    Args:
        read: raises InvalidRecord for a value that is no sample.
        expected: what a record without a value lacks: "an image".
    """
    contents: list[Content] = []
    positions: list[int] = []
    refusals: dict[int, Refusal] = {}
    for position, value in enumerate(values):
        if not value:
            refusals[position] = Refusal("empty", f"The record has no value and {expected} was expected.")
            continue
        try:
            contents.append(read(value))
            positions.append(position)
        except InvalidRecord as error:
            refusals[position] = error.refusal
    return contents, positions, refusals


def check_sample(sample: np.ndarray[Any, Any], shape: tuple[int, ...], dtype: str) -> None:
    """Refuse a sample of another shape or dtype than the format.

    Raises:
        ValueError: naming the sample's and the format's.
    """
    if sample.shape != shape or sample.dtype != dtype:
        raise ValueError(
            f"A sample of shape {sample.shape} and dtype {sample.dtype} does not fit the format's {shape} and {dtype}: "
            "correct the source or the [format] table."
        )
