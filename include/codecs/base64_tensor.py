"""Arrays as base64 text of their bare bytes, with dtype and shape fixed by the pipeline."""

from __future__ import annotations

import binascii
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from include.base64_text import lenient_base64
from include.codecs._tensor import TensorCodec
from include.codecs.base import DecodedBatch, check_sample, read_each
from include.refusal import InvalidRecord

if TYPE_CHECKING:
    import numpy as np

TEXT = re.compile(rb"[A-Za-z0-9+/]*+={0,2}")


class Base64Codec(TensorCodec):
    """C-ordered and little-endian, in RFC 4648's standard alphabet, padded and without line breaks.

    Only the canonical text of an array is valid. Python's own decoder accepts others, and skips foreign characters.

    Args:
        lenient: also accept the dialects of `include.base64_text.lenient_base64`.
    """

    kind: Literal["tensor.base64"] = "tensor.base64"

    lenient: Annotated[bool, Field(exclude_if=lambda lenient: not lenient)] = False

    def encode(self, sample: np.ndarray[Any, Any]) -> bytes:
        check_sample(sample, self.shape, self.dtype)
        return binascii.b2a_base64(sample.astype(self.wire_dtype, copy=False).tobytes(), newline=False)

    def decode(self, values: Sequence[bytes | None]) -> DecodedBatch:
        return self._decoded(*read_each(values, self._numbers, "base64 text"))

    def _numbers(self, value: bytes) -> bytes:
        """The array's bytes."""
        try:
            numbers = lenient_base64(value) if self.lenient else self._canonical(value)
        except ValueError as error:
            fault = f"{len(value)} characters are not canonical base64: {error}."
            raise InvalidRecord("invalid-base64", fault) from error
        if len(numbers) != self.sample_bytes:
            raise InvalidRecord("wrong-size", f"The base64 holds {len(numbers)} bytes, and {self._takes}.")
        return numbers

    def _canonical(self, value: bytes) -> bytes:
        if len(value) % 4 or not TEXT.fullmatch(value):
            raise ValueError(
                "its length must be a multiple of four, in the standard alphabet, padded and without line breaks"
            )
        if len(value) != (self.sample_bytes + 2) // 3 * 4:
            raise InvalidRecord(
                "wrong-size", f"{len(value)} characters of base64 are not the text of an array: {self._takes}."
            )
        numbers = binascii.a2b_base64(value)
        if binascii.b2a_base64(numbers, newline=False) != value:
            raise ValueError("the last character has bits beyond the last byte")
        return numbers
