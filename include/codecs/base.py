"""What a codec is: decoding never raises for a bad value, it returns a refusal with the value's position."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from include.kinds import Config
from include.refusal import InvalidRecord, Refusal

if TYPE_CHECKING:
    import numpy as np

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
    @abstractmethod
    def schema_name(self) -> str:
        """The `schema` header of a record in this format: kind and version."""

    @property
    @abstractmethod
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one decoded sample; images are (channels, height, width)."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the network's input for one sample, see `to_inputs`."""
        return self.sample_shape

    @abstractmethod
    def encode(self, sample: np.ndarray[Any, Any]) -> bytes:
        """One sample of `sample_shape` as a record's value.

        Raises:
            ValueError: shape or dtype do not fit the format.
        """

    @abstractmethod
    def decode(self, values: Sequence[bytes | None]) -> DecodedBatch:
        """Decode a list of record values; each becomes a sample or a refusal."""

    @abstractmethod
    def to_inputs(self, samples: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Decoded samples as float32 inputs (n, *input_shape); training and prediction share it."""


def readable(
    values: Sequence[bytes | None], read: Callable[[bytes], Content], expected: str, refusals: dict[int, Refusal]
) -> Iterator[tuple[int, Content]]:
    """Position and content of the values that `read` accepts; why the others are refused goes into `refusals`.

    Args:
        read: raises InvalidRecord for a value that is no sample.
        expected: what a record without a value lacks: "an image".
    """
    for position, value in enumerate(values):
        if not value:
            refusals[position] = Refusal("empty", f"The record has no value and {expected} was expected.")
            continue
        try:
            content = read(value)
        except InvalidRecord as error:
            refusals[position] = error.refusal
        else:
            yield position, content


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
