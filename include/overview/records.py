"""Records decoded as far as possible, for a person. Each is hostile input."""

from __future__ import annotations

import json
from collections.abc import Iterable, Set
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from include.kafka.headers import Headers, headers_of
from include.kafka.ranges import LogHistory, OffsetRange
from include.kafka.reader import read_range
from include.kafka.records import Address, address_of
from include.kafka.signing import SIGNATURE, UNSIGNED
from include.reading.records import NO_LABEL, RecordReader
from include.refusal import Refusal

if TYPE_CHECKING:
    import numpy as np
    from confluent_kafka import Message
    from PIL.Image import Image

    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection

# Records this close to each other are read in one go.
NEAR = 50


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
    elif labelled:
        target = NO_LABEL if label is None else pipeline.training.target().read(label)
        refusals += [target] if isinstance(target, Refusal) else []
    if pipeline.signed and SIGNATURE not in dict(headers):
        refusals.append(UNSIGNED)
    decoded = codec.decode([] if isinstance(label, Refusal) and content is None else [content])
    refusals += decoded.refusals.values()
    sample = decoded.samples[0] if len(decoded.samples) else None
    shown = None if isinstance(label, Refusal) else label
    return DecodedRecord(message, headers, content, sample, tuple(refusals), records.ids[0], shown)


def decode_prediction(message: Message) -> DecodedRecord:
    """Decode a record of the predictions, which should be one JSON object."""
    refusals: tuple[Refusal, ...] = ()
    try:
        if not isinstance(json.loads(message.value() or b""), dict):
            refusals = (Refusal("wrong-type", "The record's JSON is no object."),)
    except (ValueError, RecursionError) as error:
        refusals = (Refusal("invalid-json", f"The record is no JSON: {error}."),)
    return DecodedRecord(message, headers_of([message])[0], None, None, refusals)


def image_of(sample: np.ndarray[Any, Any]) -> Image:
    """The picture of a decoded sample, uint8 (channels, height, width)."""
    import numpy as np
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(sample[0] if len(sample) == 1 else sample.transpose(1, 2, 0)))


def records_at(
    connection: KafkaConnection, group: str, log: LogHistory, wanted: Iterable[tuple[int, int]], *, largest: int
) -> dict[tuple[int, int], Message]:
    """The records at places of a topic that it still has, by partition and offset.

    Args:
        wanted: partitions and offsets.
        largest: how many bytes of records to read at most; what lies behind is left out.

    Raises:
        RangeUnavailable, LogTruncated, ReaderStalled: see `include.kafka.reader.read_range`.
    """
    places = set(wanted)
    found: dict[tuple[int, int], Message] = {}
    ranges = _ranges(log, places)
    size = 0
    if not ranges:
        return found
    with connection.consumer(group, **{"queued.min.messages": 100}) as consumer:
        for item in ranges:
            for messages in read_range(connection, consumer, item, batch_size=NEAR):
                for message in messages:
                    size += len(message)
                    address = address_of(message)
                    if (address.partition, address.offset) in places:
                        found[address.partition, address.offset] = message
                if size > largest:
                    return found
    return found


def record_at(connection: KafkaConnection, group: str, log: LogHistory, address: Address) -> Message | None:
    """The record at an address; None where the topic has none there."""
    place = (address.partition, address.offset)
    return records_at(connection, group, log, [place], largest=0).get(place)


def _ranges(log: LogHistory, places: Set[tuple[int, int]]) -> list[OffsetRange]:
    """The ranges that hold the places, those near each other in one."""
    ranges: list[OffsetRange] = []
    for item in log.ranges:
        offsets = sorted(
            offset for partition, offset in places if partition == item.partition and item.start <= offset < item.end
        )
        for offset in offsets:
            if ranges and ranges[-1].partition == item.partition and offset - ranges[-1].end < NEAR:
                ranges[-1] = replace(ranges[-1], end=offset + 1)
            else:
                ranges.append(replace(item, start=offset, end=offset + 1))
    return ranges
