"""Sample <-> bytes, a list of records at a time. A kind is one file; helpers are `_name.py`."""

from include.codecs._audio import AudioCodec
from include.codecs._conversion import IMAGE_FILES, decoder_like, record_values
from include.codecs._depth import is_deep, largest_value
from include.codecs._file_type import HEAD_BYTES, described, image_format_of
from include.codecs._image import MODES, ImageCodec
from include.codecs._row_statistics import NoCategory, RowStatistics
from include.codecs._spectrogram import LogMel
from include.codecs._text import PADDING, TextCodec
from include.codecs._threads import allow_threads, available_threads

__all__ = [
    "HEAD_BYTES",
    "IMAGE_FILES",
    "MODES",
    "PADDING",
    "AudioCodec",
    "ImageCodec",
    "LogMel",
    "NoCategory",
    "RowStatistics",
    "TextCodec",
    "allow_threads",
    "available_threads",
    "decoder_like",
    "described",
    "image_format_of",
    "is_deep",
    "largest_value",
    "record_values",
]
