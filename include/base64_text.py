"""Base64 as programs write it: the standard's one text, or any of its dialects where a pipeline allows them."""

import binascii
import re

DATA_URI = re.compile(rb"data:[^,]*;base64,", re.IGNORECASE)
BLANKS = b" \t\r\n\f\v"
STANDARD = bytes.maketrans(b"-_", b"+/")


def lenient_base64(text: bytes) -> bytes:
    """The bytes of a text in the standard or the URL-safe alphabet.

    It may follow the head of a data: URI, be wrapped into lines, and lack its padding.

    Raises:
        ValueError: it is no base64 in any of these dialects, with the reason.
    """
    text = text.lstrip()
    if (head := DATA_URI.match(text)) is not None:
        text = text[head.end() :]
    elif text[:5].lower() == b"data:":
        raise ValueError("the data: URI does not say that it is base64")
    bare = text.translate(STANDARD, BLANKS).rstrip(b"=")
    if len(bare) % 4 == 1:
        raise ValueError(f"{len(bare)} characters are no number of bytes")
    return binascii.a2b_base64(bare + b"=" * (-len(bare) % 4), strict_mode=True)
