"""Arrays as NumPy's .npy files, whose own header has to name the pipeline's dtype and shape.

A header is a Python dictionary (https://numpy.org/neps/nep-0001-npy-format.html). One regular expression reads its
three keys: without a Python parser, no header causes recursion or warnings.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from include.codecs._tensor import TensorCodec
from include.codecs.base import DecodedBatch, check_sample, read_each
from include.refusal import InvalidRecord

if TYPE_CHECKING:
    import numpy as np

MAGIC = b"\x93NUMPY"
# Bytes of the header's length, by version.
LENGTH_BYTES = {b"\1\0": 2, b"\2\0": 4, b"\3\0": 4}
# Most headers that NumPy writes have 128 bytes.
MAX_HEADER = 1024

HEADER = re.compile(
    rb"""\{(?:\s*+['"](?:
        descr['"]\s*+:\s*+(?:['"](?P<dtype>[^'"]*+)['"]|(?P<fields>\[[^:]*\])) |
        fortran_order['"]\s*+:\s*+(?P<fortran_order>True|False) |
        shape['"]\s*+:\s*+\((?P<shape>[-\d,\s]*+)\)
    )\s*+,?){3}\s*+\}\s*+""",
    re.VERBOSE,
)


class NpyCodec(TensorCodec):
    """Versions 1 to 3 in C or Fortran order, little-endian; arrays of objects are pickles and refused."""

    kind: Literal["tensor.npy"] = "tensor.npy"

    def encode(self, sample: np.ndarray[Any, Any]) -> bytes:
        import numpy as np

        check_sample(sample, self.shape, self.dtype)
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, sample.astype(self.wire_dtype, order="C"), (1, 0), allow_pickle=False)
        return buffer.getvalue()

    def decode(self, values: Sequence[bytes | None]) -> DecodedBatch:
        return self._decoded(*read_each(values, self._numbers, "a .npy array"))

    def _numbers(self, value: bytes) -> bytes | memoryview:
        """The array's bytes in C order."""
        import numpy as np

        dtype, fortran_order, shape, numbers = _read(value)
        expected = self.wire_dtype.str
        # NumPy writes the byte order of single bytes as |, other programs as <.
        if dtype not in (expected, expected.replace("|", "<")):
            raise InvalidRecord("wrong-dtype", f"The array's header says dtype {dtype!r} and the format {expected!r}.")
        if shape != self.shape:
            raise InvalidRecord("wrong-shape", f"The array's header says shape {shape} and the format {self.shape}.")
        if len(numbers) != self.sample_bytes:
            raise InvalidRecord("wrong-size", f"{len(numbers)} bytes follow the array's header, and {self._takes}.")
        return np.frombuffer(numbers, dtype).reshape(shape, order="F").tobytes() if fortran_order else numbers


def _read(value: bytes) -> tuple[str, bool, tuple[int, ...], memoryview]:
    """The header's dtype, Fortran order and shape, and the bytes after it.

    Raises:
        InvalidRecord: the header is invalid.
    """

    def undecodable(damage: str) -> InvalidRecord:
        return InvalidRecord("undecodable", f"{len(value)} bytes are not a .npy array: {damage}.")

    counted = LENGTH_BYTES.get(value[6:8])
    if counted is None or not value.startswith(MAGIC):
        raise undecodable("it does not begin as version 1, 2 or 3")
    start = 8 + counted
    length = int.from_bytes(value[8:start], "little")
    if length > MAX_HEADER:
        raise undecodable(f"its header claims {length} bytes and at most {MAX_HEADER} are read")
    header = HEADER.fullmatch(value, start, start + length)
    # The expression matches three keys; with one twice, another is missing.
    if header is None or None in (header["dtype"] or header["fields"], header["fortran_order"], header["shape"]):
        raise undecodable("its header does not have dtype, order and shape")
    try:
        shape = tuple(int(dimension) for dimension in header["shape"].split(b",") if dimension.strip())
    except ValueError:
        raise undecodable(f"its header says shape ({header['shape'].decode()})") from None
    dtype = (header["dtype"] or header["fields"]).decode("latin-1")
    return dtype, header["fortran_order"] == b"True", shape, memoryview(value)[start + length :]
