"""Arrays as the text of their numbers: a JSON list, or a line of CSV."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from include.codecs._tensor import TensorCodec
from include.codecs.base import DecodedBatch, check_sample, read_each
from include.number_text import number_in
from include.refusal import InvalidRecord
from include.strict_json import Number, read_json

if TYPE_CHECKING:
    import numpy as np

SEPARATORS = ";\t,"


class TextTensorCodec(TensorCodec):
    """In C order; a decimal has a point.

    A JSON list may be flat, or nested as `shape` is. In a line, semicolons, tabs or commas divide the numbers, the
    first of these that it has, or else blanks.
    """

    kind: Literal["tensor.text"] = "tensor.text"

    def encode(self, sample: np.ndarray[Any, Any]) -> bytes:
        check_sample(sample, self.shape, self.dtype)
        return json.dumps(sample.tolist()).encode()

    def decode(self, values: Sequence[bytes | None]) -> DecodedBatch:
        return self._decoded(*read_each(values, self._numbers, "numbers as text"))

    def _numbers(self, value: bytes) -> bytes:
        """The array's bytes."""
        import numpy as np

        try:
            text = value.decode().strip()
        except UnicodeDecodeError as error:
            raise InvalidRecord("invalid-utf8", f"Byte {error.start} is not UTF-8: {error.reason}.") from error
        numbers = list(self._listed(value) if text.startswith("[") else _in_line(text))
        size = math.prod(self.shape)
        if len(numbers) != size:
            raise InvalidRecord("wrong-size", f"The text has {len(numbers)} numbers and {self.shape} takes {size}.")
        if not self.dtype.startswith("float"):
            limits = np.iinfo(self.dtype)
            for number in numbers:
                if not (limits.min <= number <= limits.max and number.is_integer()):
                    raise InvalidRecord("undecodable", f"The number {number:g} is no {self.dtype}.")
        with np.errstate(over="ignore"):  # an infinity is refused with the others
            return np.array(numbers, np.float64).astype(self.wire_dtype).tobytes()

    def _listed(self, value: bytes) -> Iterator[float]:
        listed = read_json(value)
        flat = isinstance(listed, list) and not any(isinstance(item, list) for item in listed)
        return _nested(listed, (math.prod(self.shape),) if flat else self.shape)


def _nested(listed: Any, shape: Sequence[int]) -> Iterator[float]:
    if not shape:
        if not isinstance(listed, Number):
            raise InvalidRecord("undecodable", f"The list holds {json.dumps(listed):.60}, which is no number.")
        yield float(listed)
        return
    if not isinstance(listed, list) or len(listed) != shape[0]:
        held = len(listed) if isinstance(listed, list) else "no"
        raise InvalidRecord("wrong-size", f"A list has {held} items and {shape[0]} were expected.")
    for item in listed:
        yield from _nested(item, shape[1:])


def _in_line(text: str) -> Iterator[float]:
    separator = next((character for character in SEPARATORS if character in text), None)
    for cell in text.split(separator):
        number = number_in(cell)
        if number is None:
            raise InvalidRecord("undecodable", f"The cell {cell.strip()!r:.60} is no number.")
        yield number
