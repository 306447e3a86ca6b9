"""Contents of a source as values of a topic: images of other file formats are converted to the pipeline's."""

from collections.abc import Sequence

from include.codecs._file_type import image_format_of
from include.codecs._image import ImageCodec
from include.codecs._more_images import BmpImage, GifImage, TiffImage
from include.codecs._threads import available_threads, for_each
from include.codecs.base import Codec
from include.codecs.jpeg import JpegCodec
from include.codecs.png import PngCodec
from include.codecs.webp import WebpCodec
from include.refusal import Refusal

IMAGE_FILES: dict[str, type[ImageCodec]] = {
    codec.pillow_format: codec for codec in (JpegCodec, PngCodec, WebpCodec, BmpImage, GifImage, TiffImage)
}


def record_values(codec: Codec, contents: Sequence[bytes]) -> list[bytes | Refusal]:
    """Each content as a value that `codec` decodes, or why there is none.

    A content in the codec's own format is its own value. An image of another format becomes the codec's sample, with
    its size and channels, and that is encoded: without loss by PNG and WebP, by JPEG at `JpegCodec.pillow_settings`.
    """
    values: list[bytes | Refusal] = list(contents)
    others = _of_other_formats(codec, contents)
    own = [position for position in range(len(contents)) if position not in others]
    for place, refusal in codec.refusals([contents[position] for position in own]).items():
        values[own[place]] = refusal
    if not isinstance(codec, ImageCodec) or not others:
        return values
    decoders = {name: decoder_like(codec, name) for name in set(others.values())}
    positions = list(others)

    def convert(number: int) -> None:
        position = positions[number]
        decoded = decoders[others[position]].decode([contents[position]])
        values[position] = decoded.refusals[0] if decoded.refusals else codec.encode(decoded.samples[0])

    for_each(convert, len(positions), threads=available_threads())
    return values


def decoder_like(codec: ImageCodec, pillow_format: str) -> ImageCodec:
    """A decoder of another file format, with the same settings."""
    kind = IMAGE_FILES[pillow_format]
    kind.load_decoder()
    settings = {name: getattr(codec, name) for name in ImageCodec.model_fields if name != "kind"}
    # Unchecked: a gray format refuses each WebP for its colours, and there are no such settings of WebP.
    return kind.model_construct(**settings)


def _of_other_formats(codec: Codec, contents: Sequence[bytes]) -> dict[int, str]:
    """The image formats of the contents that are images of another one, by position."""
    if not isinstance(codec, ImageCodec):
        return {}
    found = {position: image_format_of(content) for position, content in enumerate(contents)}
    return {position: name for position, name in found.items() if name not in ("", codec.pillow_format)}
