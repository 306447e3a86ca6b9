"""What the image formats share: one fixed size, and a decoder that is given only what was looked at before."""

from __future__ import annotations

import io
import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from include.codecs.base import Codec, Decoded, Refusal, Unfit, check_sample
from include.codecs.threads import available_threads, for_each

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

MODES = {1: "L", 3: "RGB"}

# A file of 18 kB can claim 90 million pixels. What claims more than this, and more than the format has, is told apart
# from an image that merely has another size.
MAX_PIXELS = 16_000_000

# Smaller values, and smaller samples, take less time to decode and to convert than threads take turns in.
WORTH_A_THREAD = 2048
LARGE_SAMPLE = 32 * 1024


class Damaged(ValueError):
    """The file is not whole; the text says where, without a full stop."""


class Picture(NamedTuple):
    """An image file that is whole as far as its structure tells, with no pixel decoded.

    Attributes:
        mode: Pillow's name of its channels, empty where only a decoder tells.
        content: the file without its metadata. Pillow parses metadata and inflates it, warns about it and stumbles over
            it, and no pixel depends on it.
    """

    width: int
    height: int
    mode: str
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

        samples = self._room(len(values))
        outcomes: list[Refusal | None] = [None] * len(values)

        def decode_one(position: int) -> None:
            pixels = samples[position].transpose(1, 2, 0)
            outcomes[position] = self._refusal(position, values[position], pixels)

        size = sum(len(value or b"") for value in values)
        threads = available_threads() if size >= WORTH_A_THREAD * len(values) else 1
        for_each(decode_one, len(values), threads=threads)
        refusals = [refusal for refusal in outcomes if refusal is not None]
        if not refusals:
            return Decoded(samples, np.arange(len(values)))
        kept = [position for position, refusal in enumerate(outcomes) if refusal is None]
        for place, position in enumerate(kept):
            samples[place] = samples[position]
        return Decoded(samples[: len(kept)], np.asarray(kept, np.int64), refusals)

    def to_inputs(self, samples: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Pixels 0 to 255 as 0.0 to 1.0."""
        import numpy as np

        inputs = np.empty(samples.shape, np.float32)

        def convert(position: int) -> None:
            # One image after the other: its numbers are still in the processor's cache when they are scaled.
            np.copyto(inputs[position], samples[position])
            inputs[position] *= np.float32(1 / 255)

        large = math.prod(self.sample_shape) >= LARGE_SAMPLE
        for_each(convert, len(samples), threads=available_threads() if large else 1)
        return inputs

    def read_into(self, pixels: np.ndarray[Any, Any], picture: Picture) -> None:
        """Decode a picture of the format's size; overridden where there is a faster decoder than Pillow's.

        Args:
            pixels: uint8 (height, width, channels), all of which is written to.

        Raises:
            Unfit: its mode is not the format's.
            Exception: whatever a decoder raises for a file that is damaged.
        """
        import PIL.Image

        try:
            with PIL.Image.open(io.BytesIO(picture.content), formats=[self.pillow_format]) as image:
                self._check_mode(image.mode)
                pixels[:] = _with_channels(image)
        except PIL.UnidentifiedImageError as error:
            raise Damaged("its header is not one that Pillow decodes") from error

    def _room(self, count: int) -> np.ndarray[Any, Any]:
        """Room for so many samples; each one's pixels lie together, which is how decoders write them."""
        import numpy as np

        if self.channels == 1:
            return np.empty((count, *self.sample_shape), np.uint8)
        return np.empty((count, self.height, self.width, self.channels), np.uint8).transpose(0, 3, 1, 2)

    def _refusal(self, position: int, value: bytes | None, pixels: np.ndarray[Any, Any]) -> Refusal | None:
        """Decode one value into `pixels`, or say why it is no image of this format."""
        if not value:
            error = f"The record has no value and a {self.pillow_format} image was expected."
            return Refusal(position, "empty", error)
        try:
            picture = self.look_into(value)
            self._check_size(picture)
            self.read_into(pixels, picture)
        except MemoryError:
            raise
        except Unfit as unfit:
            return Refusal(position, unfit.reason, str(unfit))
        except Exception as damage:  # noqa: BLE001 - decoders fail in many ways
            error = f"{len(value)} bytes are not a whole {self.pillow_format} image: {damage}."
            return Refusal(position, "undecodable", error)
        return None

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


def _with_channels(image: Image) -> np.ndarray[Any, Any]:
    """Pixels as uint8 (height, width, channels)."""
    import numpy as np

    pixels = np.asarray(image)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels
