"""What a codec is: decoding never raises for a bad record, it says which one and why."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from include.kinds import Config

if TYPE_CHECKING:
    import numpy as np

Content = TypeVar("Content")

# The reason codes of all codecs. Dead letters carry them and programs compare them: none may change its meaning.
REASONS = {
    "empty": "no value (a tombstone), a value of no bytes, or a JSON field with no text",
    "undecodable": "not of this format, or cut short or damaged",
    "too-many-pixels": "an image that claims more pixels than any decoder should be given; none was decoded",
    "wrong-size": "whole, but of another number of pixels or bytes than the format's or a multiple of its frame's",
    "wrong-channels": "an image of other channels than the format's: colour for gray, a palette, alpha, CMYK",
    "animated": "an image of several frames",
    "wrong-dtype": "an array whose own header names another dtype than the format's",
    "wrong-shape": "an array whose own header names another shape than the format's",
    "not-finite": "an array or a sound with NaN, infinity or a number that becomes one as float32",
    "no-frames": "a sound file that is whole and has no sound in it",
    "too-many-frames": "a sound that claims more frames than any decoder should be given; none was decoded",
    "too-many-channels": "a sound of more channels than are mixed to one",
    "wrong-rate": "a sound of so few or so many samples a second that it is not resampled",
    "invalid-base64": "not the one base64 text of some bytes: another character, a line break, padding, stray bits",
    "invalid-utf8": "text that is not UTF-8, or in JSON half a surrogate pair",
    "holds-nul": "text with a NUL character, which pads the samples",
    "too-long": "text of more bytes than the format's",
    "invalid-json": "not JSON by its standard: NaN and Infinity, a key twice or thousands of levels are none either",
    "missing-field": "a JSON object without the format's field",
    "wrong-type": "JSON that is no object, or a field that is no text",
}


class Unfit(Exception):
    """A value is no sample of the format.

    Attributes:
        reason: one of `REASONS`; the exception's text is one sentence with the value and what was expected.
    """

    def __init__(self, reason: str, error: str) -> None:
        super().__init__(error)
        self.reason = reason


@dataclass(frozen=True)
class Refusal:
    """Why the value at `position` of the decoded list is not a sample; `reason` is one of `REASONS`."""

    position: int
    reason: str
    error: str


@dataclass(frozen=True)
class DecodedBatch:
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

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of what the network gets of one sample, see `to_inputs`."""
        return self.sample_shape

    @abstractmethod
    def encode(self, sample: np.ndarray[Any, Any]) -> bytes:
        """One sample of `sample_shape` as a record's value.

        Raises:
            ValueError: shape or dtype do not fit the format.
        """

    @abstractmethod
    def decode(self, values: Sequence[bytes | None]) -> DecodedBatch:
        """Decode a list of record values; see `Decoded`."""

    @abstractmethod
    def to_inputs(self, samples: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Decoded samples as float32 inputs (n, *input_shape); training and prediction share it."""


def readable(
    values: Sequence[bytes | None], read: Callable[[bytes], Content], expected: str, refusals: list[Refusal]
) -> Iterator[tuple[int, Content]]:
    """Position and content of the values that `read` can read; the others go into `refusals`.

    Args:
        read: raises Unfit for a value that is no sample.
        expected: what a record without a value should have had: "an image".
    """
    for position, value in enumerate(values):
        if not value:
            refusals.append(Refusal(position, "empty", f"The record has no value and {expected} was expected."))
            continue
        try:
            content = read(value)
        except Unfit as unfit:
            refusals.append(Refusal(position, unfit.reason, str(unfit)))
        else:
            yield position, content


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
