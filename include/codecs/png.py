"""Images as PNG, of one fixed size."""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from include.codecs.base import Codec, Decoded, Refusal, check_sample

if TYPE_CHECKING:
    import numpy as np

MODES = {1: "L", 3: "RGB"}


class PngCodec(Codec):
    """8-bit grayscale or RGB images of `height` x `width` pixels, held as uint8 (channels, height, width)."""

    kind: Literal["image.png"] = "image.png"
    height: Annotated[int, Field(ge=1, le=8192)]
    width: Annotated[int, Field(ge=1, le=8192)]
    channels: Literal[1, 3] = 1

    @property
    def schema_name(self) -> str:
        return "image.png/1"

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return (self.channels, self.height, self.width)

    def encode(self, sample: np.ndarray[Any, Any]) -> bytes:
        from PIL import Image

        check_sample(sample, self.sample_shape, "uint8")
        pixels = sample[0] if self.channels == 1 else sample.transpose(1, 2, 0)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="PNG")
        return buffer.getvalue()

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        import numpy as np

        samples = np.empty((len(values), *self.sample_shape), np.uint8)
        positions: list[int] = []
        refusals: list[Refusal] = []
        for position, value in enumerate(values):
            decoded = self._decode_one(value)
            if isinstance(decoded, tuple):
                refusals.append(Refusal(position, *decoded))
            else:
                samples[len(positions)] = decoded
                positions.append(position)
        return Decoded(samples[: len(positions)], np.asarray(positions, np.int64), refusals)

    def to_inputs(self, samples: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Pixels 0 to 255 as 0.0 to 1.0."""
        import numpy as np

        inputs: np.ndarray[Any, Any] = np.multiply(samples, np.float32(1 / 255), dtype=np.float32)
        return inputs

    def _decode_one(self, value: bytes | None) -> np.ndarray[Any, Any] | tuple[str, str]:
        """The pixels, or a reason code and a sentence."""
        import numpy as np
        from PIL import Image

        if not value:
            return "empty", "The record has no value and a PNG image was expected."
        try:
            with Image.open(io.BytesIO(value), formats=["PNG"]) as image:
                # The header is read and no pixel yet: a small file that claims a huge picture ends here.
                if image.size != (self.width, self.height):
                    return (
                        "wrong-size",
                        f"The image has {image.width}x{image.height} pixels, the format {self.width}x{self.height}.",
                    )
                if image.mode != MODES[self.channels]:
                    return (
                        "wrong-channels",
                        f"The image's mode is {image.mode} and the format has {MODES[self.channels]}.",
                    )
                if damage := _damage(value):
                    return "undecodable", f"{len(value)} bytes are not a whole PNG image: {damage}"
                pixels = np.asarray(image)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - Pillow fails in many ways (IndexError at an empty iCCP chunk)
            return "undecodable", f"{len(value)} bytes are not a whole PNG image: {error}"
        return pixels[None] if self.channels == 1 else pixels.transpose(2, 0, 1)


def _damage(value: bytes) -> str | None:
    """The first chunk whose checksum is wrong, or the missing end; Pillow passes over the checksums of pixels."""
    content = memoryview(value)
    start = 8  # behind the signature
    while start < len(content):
        end = start + 8 + int.from_bytes(content[start : start + 4], "big")
        checksum = content[end : end + 4]
        if len(checksum) < 4 or zlib.crc32(content[start + 4 : end]) != int.from_bytes(checksum, "big"):
            return f"the chunk at byte {start} is cut short or damaged"
        if value[start + 4 : start + 8] == b"IEND":
            return None
        start = end + 4
    return "it ends before its IEND chunk"
