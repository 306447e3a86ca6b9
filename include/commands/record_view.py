"""Records for a person to read. Each is hostile input: nothing of it reaches the terminal unescaped."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.color import Color
from rich.console import Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from include.codecs import PADDING, AudioCodec, ImageCodec, TextCodec
from include.commands.sound_view import sound
from include.kafka import dead_letters
from include.kafka.headers import LABEL, headers_of, headers_size
from include.kafka.records import address_of
from include.kafka.signing import SIGNATURE, UNSIGNED
from include.reading.records import NO_LABEL
from include.refusal import Refusal

if TYPE_CHECKING:
    import numpy as np
    from confluent_kafka import Message
    from PIL.Image import Image

    from include.definition.pipeline import Pipeline
    from include.kafka.headers import Headers
    from include.reading.records import RecordReader

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


@dataclass(frozen=True)
class DecodedRecord:
    """A record, decoded as far as possible.

    Attributes:
        content: the encoded sample, as the codec gets it; None if there is none, and for predictions.
        sample: in the codec's dtype and shape; None if the content is invalid, and for predictions.
        refusals: why it is no sample; empty if it is one.
        id, label: the sample's, if the record has them.
        deleted: the record says that a row was deleted, and has no sample for that.
    """

    message: Message
    headers: Headers
    content: bytes | None
    sample: np.ndarray[Any, Any] | None
    refusals: tuple[Refusal, ...]
    id: bytes | None = None
    label: str | None = None
    deleted: bool = False

    @property
    def file_name(self) -> str:
        address = address_of(self.message)
        return f"{address.topic}-{address.partition}-{address.offset}.png"


def decode_record(message: Message, pipeline: Pipeline, reader: RecordReader, *, labelled: bool) -> DecodedRecord:
    """Decode a record of samples, requests or dead letters as training and prediction do.

    Args:
        reader: of the records of its topic; a dead letter is read as the request that it was.
        labelled: whether the record must have a label.

    Raises:
        MillraceError: see `RecordReader.read`.
    """
    headers, codec = headers_of([message])[0], pipeline.format
    records = reader.read([message])
    label, content = records.labels[0], records.contents[0]
    if records.changes and (change := records.changes[0]) is not None and change.deleted:
        return DecodedRecord(message, headers, None, None, (), records.ids[0], deleted=True)
    refusals: list[Refusal] = []
    if isinstance(label, Refusal):
        refusals.append(label)
    elif labelled and (refusal := _label_refusal(label, pipeline)):
        refusals.append(refusal)
    if pipeline.signed and SIGNATURE not in dict(headers):
        refusals.append(UNSIGNED)
    decoded = codec.decode([] if isinstance(label, Refusal) and content is None else [content])
    refusals += decoded.refusals.values()
    sample = decoded.samples[0] if len(decoded.samples) else None
    shown = None if isinstance(label, Refusal) else label
    return DecodedRecord(message, headers, content, sample, tuple(refusals), records.ids[0], shown)


def _label_refusal(label: str | None, pipeline: Pipeline) -> Refusal | None:
    if label is None:
        return NO_LABEL
    target = pipeline.training.target().read(label)
    return target if isinstance(target, Refusal) else None


def decode_prediction(message: Message) -> DecodedRecord:
    """Decode a record of the predictions, which should be one JSON object."""
    refusals: tuple[Refusal, ...] = ()
    try:
        if not isinstance(json.loads(message.value() or b""), dict):
            refusals = (Refusal("wrong-type", "The record's JSON is no object."),)
    except (ValueError, RecursionError) as error:
        refusals = (Refusal("invalid-json", f"The record is no JSON: {error}."),)
    return DecodedRecord(message, headers_of([message])[0], None, None, refusals)


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
    facts.add_row("time", _time(message.timestamp()[1]))
    facts.add_row("key", Text("none", style="dim") if message.key() is None else Text(escaped(message.key())))
    if record.id is not None and record.id != message.key():
        facts.add_row("id", Text(escaped(record.id)))
    if record.label is not None and not any(name == LABEL for name, _ in record.headers):
        facts.add_row("label", Text(escaped(record.label)))
    facts.add_row("size", f"{size:,} bytes, and about {headers_size(record.headers):,} of headers")
    for name, content in record.headers[:SHOWN_HEADERS]:
        facts.add_row(EXPLAINING.get(name, "header"), _header(name, content))
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
    shown = content[:limit]
    # Of the blanks only a space is printable; marks of direction and lone surrogates are not.
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
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


def image_of(sample: np.ndarray[Any, Any]) -> Image:
    """The picture of a decoded sample, uint8 (channels, height, width)."""
    import numpy as np
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(sample[0] if len(sample) == 1 else sample.transpose(1, 2, 0)))


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
            below = _colour(pixels[row + 1, column]) if row + 1 < height else None
            text.append("▀", Style(color=_colour(pixels[row, column]), bgcolor=below))
    return text


def _colour(pixel: np.ndarray[Any, Any]) -> Color:
    return Color.from_rgb(*pixel.tolist())


def _time(milliseconds: int) -> str:
    if milliseconds < 0:
        return "none"
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(sep=" ", timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return f"{milliseconds} ms since 1970, beyond the calendar"


def _header(name: str, content: bytes | None) -> Text:
    shown = Text("null", style="dim") if content is None else Text(escaped(content))
    return shown if name in EXPLAINING else Text(f"{escaped(name)} = ") + shown


def _content(record: DecodedRecord, pipeline: Pipeline) -> str:
    sample, value, codec = record.sample, record.message.value(), pipeline.format
    if sample is None:
        return "none" if value is None else escaped(value, SHOWN_TEXT)
    if isinstance(codec, ImageCodec):
        return f"image of {codec.width}x{codec.height} pixels, {'gray' if codec.channels == 1 else 'RGB'}"
    if isinstance(codec, AudioCodec):
        return sound(sample, record.content or b"", codec)
    if isinstance(codec, TextCodec):
        return readable(sample.tobytes().rstrip(PADDING).decode())
    return f"array of shape {sample.shape}, {sample.dtype}, {sample.min():g} to {sample.max():g}"
