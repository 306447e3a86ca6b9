"""Base of the text formats: UTF-8 of a bounded length, as the bytes that a byte-level network reads."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from include.codecs.base import Codec, DecodedBatch, check_sample, read_each, statistics_of
from include.refusal import InvalidRecord

if TYPE_CHECKING:
    import numpy as np

PADDING = b"\0"


class TextCodec(Codec):
    """At most `length` bytes of UTF-8, held as uint8 (length,) with zeros after the text."""

    # No topic accepts larger records.
    length: Annotated[int, Field(ge=1, le=64 * 2**20)]

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return (self.length,)

    @abstractmethod
    def wrap(self, text: str) -> bytes:
        """The record's value that holds this text."""

    @abstractmethod
    def unwrap(self, value: bytes) -> bytes:
        """What should be UTF-8 text.

        Raises:
            InvalidRecord: the value holds no text.
        """

    def encode(self, sample: np.ndarray[Any, Any]) -> bytes:
        """See `Codec.encode`; zeros alone become the empty text, which every decoder refuses.

        Raises:
            ValueError: shape or dtype do not fit the format, or the bytes are no text.
        """
        check_sample(sample, self.sample_shape, "uint8")
        text = sample.tobytes().rstrip(PADDING)
        if PADDING in text:
            raise ValueError(f"A sample with a zero before its last character is no text of {self.kind}.")
        return self.wrap(text.decode())

    def decode(self, values: Sequence[bytes | None]) -> DecodedBatch:
        import numpy as np

        padded, positions, refusals = read_each(values, self._padded, "text")
        samples = np.frombuffer(b"".join(padded), np.uint8).reshape(len(padded), self.length)
        return DecodedBatch(samples, np.asarray(positions, np.int64), refusals)

    def to_inputs(self, samples: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The bytes' numbers, 0.0 to 255.0; a network that embeds them casts them back."""
        import numpy as np

        return samples.astype(np.float32)

    @property
    def described(self) -> tuple[str, ...]:
        return ("length", "mean", "deviation")

    def describe(self, inputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """See `Codec.describe`: the length in bytes, mean and deviation of the bytes, which differ between scripts."""
        import numpy as np

        texts = (row[: np.count_nonzero(row)] for row in inputs)
        found = [(len(text), float(text.mean(dtype=np.float64)), float(text.std(dtype=np.float64))) for text in texts]
        return statistics_of(found, 3)

    def _padded(self, value: bytes) -> bytes:
        """The text and its padding, `length` bytes."""
        text = self.unwrap(value)
        if not text:
            raise InvalidRecord("empty", "The record's text is empty.")
        if len(text) > self.length:
            raise InvalidRecord("too-long", f"The text has {len(text)} bytes and the format at most {self.length}.")
        try:
            text.decode()
        except UnicodeDecodeError as error:
            fault = f"Byte {error.start} of {len(text)} is not UTF-8: {error.reason}."
            raise InvalidRecord("invalid-utf8", fault) from error
        if PADDING in text:
            raise InvalidRecord(
                "holds-nul", f"Byte {text.index(PADDING)} of the text is a NUL, which is the format's padding."
            )
        return text.ljust(self.length, PADDING)
