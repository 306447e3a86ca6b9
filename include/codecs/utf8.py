"""Text as its bare UTF-8."""

from typing import Literal

from include.codecs._text import TextCodec


class Utf8Codec(TextCodec):
    """The whole value is the text."""

    kind: Literal["text.utf8"] = "text.utf8"

    def wrap(self, text: str) -> bytes:
        return text.encode()

    def unwrap(self, value: bytes) -> bytes:
        return value
