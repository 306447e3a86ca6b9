"""What the image formats share: one fixed size, and a decoder that is given only what was looked at before."""

from __future__ import annotations

import io
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from include.codecs.base import Codec, Decoded, Refusal, Unfit, check_sample, readable

if TYPE_CHECKING:
    import numpy as np

MODES = {1: "L", 3: "RGB"}

# A file of 18 kB can claim 90 million pixels. What claims more than this, and more than the format has, is told apart
# from an image that merely has another size.
MAX_PIXELS = 16_000_000


class Damaged(ValueError):
    """The file is not whole; the text says where, without a full stop."""


class Picture(NamedTuple):
    """An image file that is whole as far as its structure tells, with no pixel decoded.

    Attributes:
        content: the file without its metadata. Pillow parses metadata and inflates it, warns about it and stumbles over
            it, and no pixel depends on it.
    """

    width: int
    height: int
    content: bytes


class ImageCodec(Codec):
    """8-bit grayscale or RGB images of `height` x `width` pixels, held as uint8 (channels, height, width)."""

    height: Annotated[int, Field(ge=1, le=8192)]
    width: Annotated[int, Field(ge=1, le=8192)]
    channels: Literal[1, 3] = 1

    # Pillow's name of the format and settings of its encoder.
    pillow_format: ClassVar[str]
    pillow_settings: ClassVar[dict[str, Any]] = {}

    @property
    def schema_name(self) -> str:
        return f"{self.kind}/1"

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return (self.channels, self.height, self.width)

    @abstractmethod
    def look_into(self, value: bytes) -> Picture:
        """Follow the file's structure from its first byte to its end.

        Raises:
            Damaged: it is cut short, breaks its checksums, or is another kind of file.
        """

    def encode(self, sample: np.ndarray[Any, Any]) -> bytes:
        from PIL import Image

        check_sample(sample, self.sample_shape, "uint8")
        pixels = sample[0] if self.channels == 1 else sample.transpose(1, 2, 0)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format=self.pillow_format, **self.pillow_settings)
        return buffer.getvalue()

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        import numpy as np

        samples = np.empty((len(values), *self.sample_shape), np.uint8)
        positions: list[int] = []
        refusals: list[Refusal] = []
        for position, pixels in readable(values, self._pixels, f"a {self.pillow_format} image", refusals):
            samples[len(positions)] = pixels
            positions.append(position)
        return Decoded(samples[: len(positions)], np.asarray(positions, np.int64), refusals)

    def to_inputs(self, samples: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Pixels 0 to 255 as 0.0 to 1.0."""
        import numpy as np

        inputs: np.ndarray[Any, Any] = np.multiply(samples, np.float32(1 / 255), dtype=np.float32)
        return inputs

    def _pixels(self, value: bytes) -> np.ndarray[Any, Any]:
        """uint8 of the sample's shape.

        Raises:
            Unfit: the value is no image of this format.
        """
        import numpy as np
        import PIL.Image

        try:
            picture = self.look_into(value)
            self._check_size(picture)
            with PIL.Image.open(io.BytesIO(picture.content), formats=[self.pillow_format]) as image:
                self._check_mode(image.mode)
                pixels = np.asarray(image)
        except (Unfit, MemoryError):
            raise
        except PIL.UnidentifiedImageError as error:
            raise self._undecodable(value, "its header is not one that Pillow decodes") from error
        except Exception as error:  # Pillow fails in many ways
            raise self._undecodable(value, error) from error
        return pixels[None] if self.channels == 1 else pixels.transpose(2, 0, 1)

    def _check_size(self, picture: Picture) -> None:
        if (picture.width, picture.height) == (self.width, self.height):
            return
        size = f"{picture.width}x{picture.height} pixels"
        limit = max(MAX_PIXELS, self.width * self.height)
        if picture.width * picture.height > limit:
            raise Unfit("too-many-pixels", f"The image claims {size} and at most {limit} are decoded.")
        raise Unfit("wrong-size", f"The image has {size}, the format {self.width}x{self.height}.")

    def _check_mode(self, mode: str) -> None:
        if mode != MODES[self.channels]:
            raise Unfit("wrong-channels", f"The image's mode is {mode} and the format has {MODES[self.channels]}.")

    def _undecodable(self, value: bytes, damage: object) -> Unfit:
        return Unfit("undecodable", f"{len(value)} bytes are not a whole {self.pillow_format} image: {damage}.")
