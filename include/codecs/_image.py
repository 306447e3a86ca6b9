"""Base of the image formats: samples of one size, and decoders that see a file only after its structure was checked."""

from __future__ import annotations

import io
import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Self, TypeVar

from pydantic import Field, ValidationInfo, field_validator, model_validator

from include.codecs._conform import Resize, in_channels, resized, upright
from include.codecs._depth import in_eight_bits, is_deep
from include.codecs._exif import SIDEWAYS
from include.codecs._threads import available_threads, begin_each, for_each
from include.codecs.base import Codec, DecodedBatch, check_sample
from include.refusal import InvalidRecord, Refusal

if TYPE_CHECKING:
    import numpy as np
    import torch
    from PIL.Image import Image

Result = TypeVar("Result")

MODES = {1: "L", 3: "RGB"}
# Pillow would cut off what is beyond 0 and 255.
UNBOUNDED_MODES = frozenset({"I", "F"})

# An image that claims more than this, and more than the format has, has a reason code of its own.
MAX_PIXELS = 16_000_000
# Nor may one that is resized have many times the pixels of the format, unless its file has bytes for them: a WebP of
# 678 bytes can hold 16 million equal pixels, and a progressive JPEG of 519 bytes can claim 100 million. A PNG of 8 bits
# has at most 1,032 pixels in a byte, and a JPEG with Huffman codes 512, however empty the picture is.
MAX_TIMES_THE_FORMAT = 16
PIXELS_PER_BYTE = 1050
# Pillow allocates each row separately: a column of pixels takes thirty times as much memory as a square of them.
MAX_SIDE = 65_535

# Bytes of a value: smaller ones decode faster in one thread, without contention for the GIL.
WORTH_A_THREAD = 2048
# Numbers of a sample: a batch of larger ones does not fit into the processor's cache.
LARGE_SAMPLE = 32 * 1024


class DamagedFile(ValueError):
    """The file is incomplete or damaged; the text names the place, without a full stop."""


class Picture(NamedTuple):
    """An image file whose structure is complete; no pixel is decoded yet.

    Attributes:
        width, height: as stored, before `orientation` is applied.
        orientation: EXIF's, see `include.codecs._exif`.
        mode: Pillow's name of its channels, empty where only a decoder can find out.
        in_passes: whether a decoder keeps all of it in memory, since it goes over the pixels several times.
        content: the file without its metadata: no pixel depends on it, and Pillow would inflate and parse it, with
            warnings and failures.
    """

    width: int
    height: int
    orientation: int
    mode: str
    content: bytes
    in_passes: bool = False

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height after `orientation` is applied."""
        return (self.height, self.width) if self.orientation in SIDEWAYS else (self.width, self.height)


class ImageCodec(Codec):
    """8-bit grayscale or RGB images of `height` x `width` pixels, held as uint8 (channels, height, width).

    Attributes:
        resize: how images of other sizes become samples, see `include.codecs._conform`; without it they are refused.
        colours: `convert` accepts images of any colours, also with a palette, transparency, CMYK or 16 bits; without it
            images with other channels are refused.
        bits: of a value of 16-bit images, such as 12 of a camera: 0 to 2^bits - 1 become 0 to 255. Without it they are
            16, and an image whose values would nearly all be lost by that is refused.
        mean, std: one number a channel, of pixels from 0 to 1: inputs are `(pixel - mean) / std`.
    """

    height: Annotated[int, Field(ge=1, le=8192)]
    width: Annotated[int, Field(ge=1, le=8192)]
    channels: Literal[1, 3] = 1
    resize: Resize | None = None
    colours: Literal["convert"] | None = None
    bits: Annotated[Annotated[int, Field(ge=8, le=16)] | None, Field(exclude_if=lambda bits: bits is None)] = None
    mean: tuple[Annotated[float, Field(ge=0, le=1)], ...] | None = None
    std: tuple[Annotated[float, Field(ge=1e-6, le=1)], ...] | None = None

    # Pillow's name of the format, and the settings of its encoder.
    pillow_format: ClassVar[str]
    pillow_settings: ClassVar[dict[str, Any]] = {}

    @field_validator("mean", "std")
    @classmethod
    def _one_a_channel(cls, value: tuple[float, ...] | None, info: ValidationInfo) -> tuple[float, ...] | None:
        channels = info.data.get("channels", 1)
        if value is not None and len(value) != channels:
            raise ValueError(f"{len(value)} numbers for {channels} channels: give one for each")
        return value

    @model_validator(mode="after")
    def _normalised(self) -> Self:
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std belong together: give both, or neither for pixels from 0 to 1")
        return self

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return (self.channels, self.height, self.width)

    @classmethod
    @abstractmethod
    def parse(cls, value: bytes) -> Picture:
        """Check the file's structure from its first byte to its end.

        Raises:
            DamagedFile: it is cut short, a checksum is wrong, or it is another kind of file.
            InvalidRecord: it is complete and cannot be a sample of any format.
        """

    def encode(self, sample: np.ndarray[Any, Any]) -> bytes:
        from PIL import Image

        check_sample(sample, self.sample_shape, "uint8")
        pixels = sample[0] if self.channels == 1 else sample.transpose(1, 2, 0)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format=self.pillow_format, **self.pillow_settings)
        return buffer.getvalue()

    def decode(self, values: Sequence[bytes | None]) -> DecodedBatch:
        batch = _Batch(self, values)
        for_each(batch.decode_one, len(values), threads=threads_for(values))
        return batch.result()

    def decode_ahead(self, values: Sequence[bytes | None], pool: ThreadPoolExecutor) -> Callable[[], DecodedBatch]:
        threads = threads_for(values)
        if threads < 2:
            return super().decode_ahead(values, pool)
        batch = _Batch(self, values)
        begun = begin_each(batch.decode_one, len(values), pool, threads=threads)

        def result() -> DecodedBatch:
            for part in begun:
                part.result()
            return batch.result()

        return result

    def to_inputs(self, samples: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Pixels 0 to 255 as 0.0 to 1.0, less `mean` and in units of `std` where the format has them."""
        import numpy as np

        inputs = np.empty(samples.shape, np.float32)
        factor, lower = self._scale()

        def convert(part: int | slice) -> None:
            numbers = inputs[part]
            np.copyto(numbers, samples[part])
            numbers *= factor
            if self.mean is not None:
                numbers -= lower

        if math.prod(self.sample_shape) < LARGE_SAMPLE:
            convert(slice(None))
        else:
            # One image at a time, so that its numbers are still in the processor's cache when they are scaled.
            for_each(convert, len(samples), threads=available_threads())
        return inputs

    def for_device(self, samples: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The pixels themselves, a quarter of their inputs' bytes."""
        return samples

    def on_device(self, batch: torch.Tensor) -> torch.Tensor:
        import torch

        if batch.device.type == "cpu":
            # NumPy takes half as long as torch to bring the channels of a pixel apart.
            return torch.from_numpy(self.to_inputs(batch.numpy()))
        return self.scaled(batch)

    def scaled(self, batch: torch.Tensor) -> torch.Tensor:
        """`to_inputs` by torch's operations."""
        import torch

        factor, lower = (torch.from_numpy(numbers).to(batch.device) for numbers in self._scale())
        # In the usual order of memory, since a network may call `view`.
        inputs = batch.contiguous().to(torch.float32).mul_(factor)
        return inputs if self.mean is None else inputs.sub_(lower)

    def read_into(self, pixels: np.ndarray[Any, Any], picture: Picture) -> None:
        """Decode a picture of a permitted size; overridden where there is a faster decoder than Pillow's.

        Args:
            pixels: uint8 (height, width, channels); every element is written.

        Raises:
            InvalidRecord: the picture's mode is not the format's.
            Exception: any exception of a decoder for a damaged file.
        """
        import PIL.Image

        if picture.mode:
            self._check_mode(picture.mode)
        try:
            with self.opened(picture) as image:
                if is_deep(image):
                    is_gray = image.mode.startswith("I;16")
                    self._check_mode("L" if is_gray and self.bits else image.mode)
                    eight_bits = in_eight_bits(image, lambda: self.opened(picture), self.bits)
                    self._fill(pixels, eight_bits, picture.orientation)
                else:
                    self._check_mode(image.mode)
                    self._fill(pixels, image, picture.orientation)
        except PIL.UnidentifiedImageError as error:
            raise DamagedFile("its header is not one that Pillow decodes") from error

    def opened(self, picture: Picture) -> Image:
        """Pillow's view of a picture, mostly without its pixels."""
        import PIL.Image

        return PIL.Image.open(io.BytesIO(picture.content), formats=[self.pillow_format])

    @classmethod
    def load_decoder(cls) -> None:
        """Import Pillow's decoder before any thread does: a thread may see a half-initialised module."""
        import PIL.Image

        PIL.Image.preinit()
        if cls.pillow_format not in PIL.Image.OPEN:
            PIL.Image.init()

    def _fill(self, pixels: np.ndarray[Any, Any], image: Image, orientation: int) -> None:
        """Conform a decoded picture to the format, and write it into `pixels`."""
        import numpy as np

        if self.colours:
            image = in_channels(image, MODES[self.channels])
        image = upright(image, orientation)
        if self.resize and image.size != (self.width, self.height):
            image = resized(image, self.width, self.height, self.resize)
        decoded = np.asarray(image)
        pixels[:] = decoded[:, :, None] if decoded.ndim == 2 else decoded

    def _scale(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Inputs are `pixels * factor - lower`: float32 factor and lower, for each channel."""
        import numpy as np

        mean, std = (np.reshape(values, (-1, 1, 1)) for values in (self.mean or (0.0,), self.std or (1.0,)))
        return (1 / 255 / std).astype(np.float32), (mean / std).astype(np.float32)

    def room(self, count: int) -> np.ndarray[Any, Any]:
        """An uninitialised array of `count` samples, with the channels of a pixel adjacent, as decoders write them."""
        import numpy as np

        if self.channels == 1:
            return np.empty((count, *self.sample_shape), np.uint8)
        return np.empty((count, self.height, self.width, self.channels), np.uint8).transpose(0, 3, 1, 2)

    def read(self, value: bytes | None, pixels: np.ndarray[Any, Any]) -> Refusal | None:
        """Decode a value into `pixels`, see `read_into`; the refusal if it is no image of this format."""
        return self._attempt(value, lambda: self.read_into(pixels, self._parse(value)))

    def _parse(self, value: bytes | None) -> Picture:
        """The file as a picture of a permitted size."""
        if not value:
            raise InvalidRecord("empty", f"The record has no value and a {self.pillow_format} image was expected.")
        picture = self.parse(value)
        self._check_size(picture)
        return picture

    def _attempt(self, value: bytes | None, work: Callable[[], Result]) -> Result | Refusal:
        """The result of `work`, or why the value is no image of this format."""
        try:
            return work()
        except MemoryError:
            raise
        except InvalidRecord as error:
            return error.refusal
        except Exception as damage:  # noqa: BLE001 - decoders fail in many ways
            size = len(value or b"")
            return Refusal("undecodable", f"{size} bytes are not a whole {self.pillow_format} image: {damage}.")

    def _check_size(self, picture: Picture) -> None:
        width, height = picture.upright_size
        size = f"{width}x{height} pixels"
        limit = self.most_pixels(picture)
        if width * height > limit or max(width, height) > MAX_SIDE:
            raise InvalidRecord(
                "too-many-pixels",
                f"The image claims {size} and at most {limit}, and {MAX_SIDE} in a row or column, are decoded of "
                f"{len(picture.content)} bytes of {self.pillow_format}: {self.advice_on_size()}.",
            )
        if not width * height or (self.resize is None and (width, height) != (self.width, self.height)):
            raise InvalidRecord("wrong-size", f"The image has {size}, the format {self.width}x{self.height}.")

    def most_pixels(self, picture: Picture) -> int:
        """How many pixels a picture may have, as stored."""
        own = self.width * self.height
        if self.resize is None:
            return max(own, MAX_PIXELS)
        worth = max(MAX_TIMES_THE_FORMAT * own, PIXELS_PER_BYTE * len(picture.content))
        return max(own, min(MAX_PIXELS, worth))

    def advice_on_size(self) -> str:
        """The end of the sentence that refuses a picture for its size."""
        return "save it with fewer pixels"

    def pixels(self, value: bytes | None) -> int:
        """How many pixels are decoded to make a sample of the value; 0 where it is refused before."""
        found = self._attempt(value, partial(self._parse, value))
        return found.width * found.height if isinstance(found, Picture) else 0

    def _check_mode(self, mode: str) -> None:
        if mode in UNBOUNDED_MODES:
            raise InvalidRecord(
                "wrong-channels", f"The image's mode is {mode}, numbers of unknown range: save it with 8 or 16 bits."
            )
        if self.colours is None and mode != MODES[self.channels]:
            raise InvalidRecord(
                "wrong-channels", f"The image's mode is {mode} and the format has {MODES[self.channels]}."
            )


class _Batch:
    """Values that are being decoded, each by any thread."""

    def __init__(self, codec: ImageCodec, values: Sequence[bytes | None]) -> None:
        codec.load_decoder()
        self._codec = codec
        self._values = values
        self._samples = codec.room(len(values))
        self._refusals: dict[int, Refusal] = {}

    def decode_one(self, position: int) -> None:
        refusal = self._codec.read(self._values[position], self._samples[position].transpose(1, 2, 0))
        if refusal is not None:
            self._refusals[position] = refusal

    def result(self) -> DecodedBatch:
        """The samples and refusals, once each value was decoded."""
        import numpy as np

        samples, refusals = self._samples, self._refusals
        kept = [position for position in range(len(samples)) if position not in refusals]
        if len(kept) < len(samples):
            for place, position in enumerate(kept):
                samples[place] = samples[position]
        return DecodedBatch(samples[: len(kept)], np.asarray(kept, np.int64), dict(sorted(refusals.items())))


def threads_for(values: Sequence[bytes | None]) -> int:
    """How many threads decode the values fastest."""
    size = sum(len(value or b"") for value in values)
    return available_threads() if size >= WORTH_A_THREAD * len(values) else 1
