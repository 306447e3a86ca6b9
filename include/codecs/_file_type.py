"""What kind of file a content is, by its first bytes and whatever its name says."""

import re
from typing import NamedTuple


class _FileType(NamedTuple):
    """A kind of file.

    Attributes:
        start: matches its first bytes.
        name: with its article.
        image: Pillow's name where it is an image that can be decoded here.
    """

    start: re.Pattern[bytes]
    name: str
    image: str = ""


def _type(start: bytes, name: str, image: str = "") -> _FileType:
    return _FileType(re.compile(start, re.DOTALL), name, image)


# The first that matches counts. BMP has two letters only, so the size of its second header is compared too.
_FILE_TYPES = (
    _type(rb"\xff\xd8\xff", "a JPEG image", "JPEG"),
    _type(rb"\x89PNG\r\n\x1a\n", "a PNG image", "PNG"),
    _type(rb"RIFF.{4}WEBP", "a WebP image", "WEBP"),
    _type(rb"GIF8[79]a", "a GIF image", "GIF"),
    _type(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", "a BMP image", "BMP"),
    _type(rb"II[*+]\0|MM\0[*+]", "a TIFF image", "TIFF"),
    # Either may name the container first (mif1), and what is in it among the brands after that.
    _type(
        rb".{4}ftyp(avi[fs]|m[is]f1.{4}(.{4}){0,8}avi[fs])",
        "an AVIF image, which has to be converted to JPEG or PNG first",
    ),
    _type(
        rb".{4}ftyp(hei|hev|m[is]f1)",
        "a HEIC image, as phones write them, which has to be converted to JPEG or PNG first",
    ),
    _type(rb".{4}ftyp", "an MP4 file"),
    _type(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "a JPEG 2000 image"),
    _type(rb"\0\0\0\x0cJXL |\xff\x0a", "a JPEG XL image"),
    _type(rb"8BPS", "a Photoshop file"),
    _type(rb"P[1-7]\s", "a portable bitmap (PBM, PGM, PPM)"),
    _type(rb"\0\0\x01\0", "an icon (ICO)"),
    _type(rb".{128}DICM", "a DICOM file"),
    _type(rb"%PDF-", "a PDF file"),
    _type(rb"PK\x03\x04", "a ZIP archive"),
    _type(rb"\x1f\x8b", "a gzip file"),
    _type(rb"\x93NUMPY", "a NumPy array"),
    _type(rb"RIFF.{4}WAVE|RF64|BW64", "a WAV file"),
    _type(rb"fLaC", "a FLAC file"),
    _type(rb"OggS", "an Ogg file"),
    _type(rb"ID3", "an MP3 file"),
    _type(rb"version https://git-lfs", "a pointer of Git LFS, whose file was not fetched"),
    _type(rb"\s*(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<svg\b", "an SVG drawing"),
    _type(rb"\s*(\xef\xbb\xbf)?\s*<(?i:!doctype html|html)", "an HTML page"),
    _type(rb"\s*(\xef\xbb\xbf)?\s*<\?xml", "an XML file"),
)
HEAD_BYTES = 512


def image_format_of(content: bytes) -> str:
    """Pillow's name of an image that can be decoded here; empty for any other content."""
    found = _type_of(content)
    return found.image if found else ""


def described(content: bytes) -> str:
    """What the content is, as "it is a PNG image"; "it does not begin as one" where it is nothing known."""
    found = _type_of(content)
    return f"it is {found.name}" if found else "it does not begin as one"


def _type_of(content: bytes) -> _FileType | None:
    head = bytes(content[:HEAD_BYTES])
    return next((kind for kind in _FILE_TYPES if kind.start.match(head)), None)
