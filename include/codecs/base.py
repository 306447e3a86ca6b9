"""What a codec is: decoding never raises for a bad record, it says which one and why."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from include.kinds import Config

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Refusal:
    """Why the value at `position` of the decoded list is not a sample."""

    position: int
    reason: str
    error: str


@dataclass(frozen=True)
class Decoded:
    """The samples of a list of values.

    Attributes:
        samples: array of shape (n, *sample_shape) in the codec's dtype.
        positions: int64 array of shape (n,): which value each sample came from, ascending.
        refusals: the other values.
    """

    samples: np.ndarray[Any, Any]
    positions: np.ndarray[Any, Any]
    refusals: list[Refusal] = field(default_factory=list)


class Codec(Config):
    """Settings of a `[format]` table and the coding that they stand for."""

    kind: str

    @property
    @abstractmethod
    def schema_name(self) -> str:
        """The `schema` header of a record in this format: kind and version."""

    @property
    @abstractmethod
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one decoded sample; images are (channels, height, width)."""

    @abstractmethod
    def encode(self, sample: np.ndarray[Any, Any]) -> bytes:
        """One sample of `sample_shape` as a record's value.

        Raises:
            ValueError: shape or dtype do not fit the format.
        """

    @abstractmethod
    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        """Decode a list of record values; see `Decoded`."""

    @abstractmethod
    def to_inputs(self, samples: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Decoded samples as a network's float32 inputs of the same shape; training and prediction share it."""


def check_sample(sample: np.ndarray[Any, Any], shape: tuple[int, ...], dtype: str) -> None:
    """Refuse a sample that the format does not describe.

    Raises:
        ValueError: naming what it is and what it should be.
    """
    if sample.shape != shape or sample.dtype != dtype:
        raise ValueError(
            f"A sample of shape {sample.shape} and dtype {sample.dtype} does not fit the format's {shape} and {dtype}: "
            "correct the source or the [format] table."
        )
