"""Records for a person to read. Each is hostile input: nothing of it reaches the terminal unescaped."""

from __future__ import annotations

import math
import unicodedata
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.color import Color
from rich.console import Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from include.codecs import PADDING, AudioCodec, ImageCodec, TextCodec
from include.codecs.row import RowCodec
from include.definition.pipeline import Pipeline
from include.errors import printable
from include.kafka import dead_letters
from include.kafka.headers import LABEL, headers_size
from include.kafka.records import address_of
from include.overview.records import DecodedRecord, image_of

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image


SHOWN_CHARACTERS = 300
SHOWN_TEXT = 2000
SHOWN_LINES = 40
SHOWN_HEADERS = 20
EXPLAINING = {
    dead_letters.REASON: "reason",
    dead_letters.ERROR: "because",
    dead_letters.ADDRESS: "came from",
    dead_letters.RUN: "run",
    dead_letters.TIMESTAMP: "its time",
}
# Pixels of a picture on the terminal; a small one is enlarged.
PICTURE_WIDTH, PICTURE_HEIGHT = 64, 48


def view(record: DecodedRecord, pipeline: Pipeline, *, colours: bool) -> RenderableType:
    """Address, time, key, headers, content and faults, one below the other.

    Args:
        colours: whether a picture can be shown.
    """
    message = record.message
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    if record.deleted:
        facts.add_row("row", "deleted")
    size = len(message) + len(message.key() or b"")
    facts.add_row("time", shown_time(message.timestamp()[1]))
    facts.add_row("key", Text("none", style="dim") if message.key() is None else Text(escaped(message.key())))
    if record.id is not None and record.id != message.key():
        facts.add_row("id", Text(escaped(record.id)))
    if record.label is not None and not any(name == LABEL for name, _ in record.headers):
        facts.add_row("label", Text(escaped(record.label)))
    facts.add_row("size", f"{size:,} bytes, and about {headers_size(record.headers):,} of headers")
    # In any other topic another program has written headers of these names.
    explaining = EXPLAINING if message.topic() == pipeline.dead_letters_topic else {}
    for name, content in record.headers[:SHOWN_HEADERS]:
        facts.add_row(explaining.get(name, "header"), _header(name, content, explained=name in explaining))
    if len(record.headers) > SHOWN_HEADERS:
        facts.add_row("", f"and {len(record.headers) - SHOWN_HEADERS} more headers")
    for refusal in record.refusals:
        facts.add_row(Text("wrong", style="red"), Text(escaped(str(refusal)), style="red"))
    facts.add_row("content", Text(_content(record, pipeline)))
    title = Text(str(address_of(message)), style="bold red" if record.refusals else "bold green")
    if colours and record.sample is not None and isinstance(pipeline.format, ImageCodec):
        return Group(title, facts, half_blocks(image_of(record.sample)))
    return Group(title, facts)


def escaped(content: bytes | str | None, limit: int = SHOWN_CHARACTERS) -> str:
    """Text of at most `limit` characters, with backslash escapes for control characters."""
    if isinstance(content, bytes):
        content = content[: 4 * limit].decode("utf-8", "backslashreplace")
    content = content or ""
    text = printable(content[:limit])
    return f"{text} ..." if len(content) > limit else text


def readable(text: str) -> str:
    """Text as its lines, of at most SHOWN_LINES and SHOWN_TEXT characters; nothing in it acts on the terminal."""
    lines = text[:SHOWN_TEXT].replace("\r\n", "\n").split("\n")
    cut = len(lines) > SHOWN_LINES or len(text) > SHOWN_TEXT
    shown = "\n".join(
        "".join(c if c.isprintable() or _is_harmless(c) else escaped(c) for c in line.expandtabs(4))
        for line in lines[:SHOWN_LINES]
    )
    return f"{shown} ..." if cut else shown


def _is_harmless(character: str) -> bool:
    """Whether it is a blank, or one of the joiners that Persian, Hindi and emoji are written with."""
    return unicodedata.category(character) == "Zs" or character in "\u200c\u200d"


def half_blocks(image: Image) -> Text:
    """A picture of at most PICTURE_WIDTH columns: each character shows two pixels, one above the other."""
    import numpy as np
    from PIL.Image import Resampling

    enlarged = max(1, PICTURE_HEIGHT // 2 // max(image.size))
    scale = min(enlarged, PICTURE_WIDTH / image.width, PICTURE_HEIGHT / image.height)
    width, height = (max(1, round(side * scale)) for side in image.size)
    way = Resampling.NEAREST if scale >= 1 else Resampling.BOX
    pixels = np.asarray(image.convert("RGB").resize((width, height), way))
    text = Text(no_wrap=True)
    for row in range(0, height, 2):
        if row:
            text.append("\n")
        for column in range(width):
            above, *below = (Color.from_rgb(*pixel) for pixel in pixels[row : row + 2, column].tolist())
            text.append("▀", Style(color=above, bgcolor=next(iter(below), None)))
    return text


def shown_time(milliseconds: int) -> str:
    if milliseconds < 0:
        return "none"
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(sep=" ", timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return f"{milliseconds} ms since 1970, beyond the calendar"


def _header(name: str, content: bytes | None, *, explained: bool) -> Text:
    shown = Text("null", style="dim") if content is None else Text(escaped(content))
    return shown if explained else Text(f"{escaped(name)} = ") + shown


def _content(record: DecodedRecord, pipeline: Pipeline) -> str:
    sample, value, codec = record.sample, record.message.value(), pipeline.format
    if sample is None:
        return "none" if value is None else escaped(value, SHOWN_TEXT)
    if isinstance(codec, ImageCodec):
        return f"image of {codec.width}x{codec.height} pixels, {'gray' if codec.channels == 1 else 'RGB'}"
    if isinstance(codec, AudioCodec):
        return _sound(sample, record.content or b"", codec)
    if isinstance(codec, TextCodec):
        return readable(sample.tobytes().rstrip(PADDING).decode())
    if isinstance(codec, RowCodec):
        return readable((record.content or b"").decode())
    return f"array of shape {sample.shape}, {sample.dtype}, {sample.min():g} to {sample.max():g}"


def _sound(sample: np.ndarray[Any, Any], value: bytes, codec: AudioCodec) -> str:
    """The record's length, and peak and root mean square of the part in its sample.

    Both are in dBFS relative to 1.0: a full-scale sine has a root mean square of -3.0 dBFS.

    Args:
        sample: int16 (1, samples), decoded from `value`.
    """
    import numpy as np

    seconds = codec.extent(value).seconds
    taken = max(1, min(codec.length, round(seconds * codec.sample_rate)))
    wave = sample[0].astype(np.float64) / 2**15
    peak, power = float(np.abs(wave).max()), float(np.square(wave).sum()) / taken
    level = f"peak {_decibels(peak)}, RMS {_decibels(math.sqrt(power))}" if peak else "silence"
    return f"sound of {seconds:.2f} s, of which {taken / codec.sample_rate:.2f} s are taken: {level}"


def _decibels(level: float) -> str:
    return f"{20 * math.log10(level):.1f} dBFS"
