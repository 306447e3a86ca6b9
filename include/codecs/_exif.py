"""The orientation in which a picture was taken: the only EXIF tag that pixels depend on."""

UPRIGHT = 1
# A camera that was held sideways: width and height change places.
SIDEWAYS = frozenset({5, 6, 7, 8})

ORIENTATION, SHORT = 0x0112, 3
BYTE_ORDERS = {b"II*\0": "little", b"MM\0*": "big"}
PREFIX = b"Exif\0\0"
ENTRY_BYTES = 12


def orientation_of(exif: bytes) -> int:
    """The orientation, 1 to 8, in the first directory of an EXIF block; `UPRIGHT` where the block has none.

    The block is TIFF 6.0, section 2, with or without EXIF's prefix. No other tag is parsed, so that a malicious block
    can at most rotate its own picture.
    """
    tiff = exif.removeprefix(PREFIX)
    order = BYTE_ORDERS.get(tiff[:4])
    if order is None:
        return UPRIGHT

    def number(start: int, size: int) -> int:
        return int.from_bytes(tiff[start : start + size], "little" if order == "little" else "big")

    directory = number(4, 4)
    first = directory + 2
    for start in range(first, min(first + ENTRY_BYTES * number(directory, 2), len(tiff)), ENTRY_BYTES):
        if (number(start, 2), number(start + 2, 2), number(start + 4, 4)) == (ORIENTATION, SHORT, 1):
            found = number(start + 8, 2)
            return found if 1 <= found <= 8 else UPRIGHT
    return UPRIGHT
