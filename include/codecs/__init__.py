"""Sample <-> bytes, a list of records at a time. A kind is one file; helpers are `_name.py`."""

from include.codecs._audio import AudioCodec
from include.codecs._image import MODES, ImageCodec
from include.codecs._spectrogram import LogMel
from include.codecs._text import PADDING, TextCodec
from include.codecs._threads import allow_threads, available_threads

__all__ = [
    "MODES",
    "PADDING",
    "AudioCodec",
    "ImageCodec",
    "LogMel",
    "TextCodec",
    "allow_threads",
    "available_threads",
]
