"""Late labels: the labels in a topic of their own, by sample id, within frozen ranges."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from include.envelopes import text_field
from include.envelopes.base import MAX_FIELD_BYTES
from include.kafka.connection import KafkaConnection
from include.kafka.position import offset_of
from include.kafka.ranges import OffsetRange, check_ranges
from include.kafka.reader import read_ranges
from include.kafka.records import address_of
from include.reading.layout import TopicLabels
from include.reading.records import RecordReader
from include.refusal import InvalidRecord, Refusal
from include.strict_json import read_json

if TYPE_CHECKING:
    from confluent_kafka import Message


log = logging.getLogger(__name__)

# Few at a time: samples may be large, and only their ids are needed.
READ_RECORDS = 100


class _Label(NamedTuple):
    timestamp_ms: int
    text: str | None
    new: bool


@dataclass
class LateLabels:
    """The newest label of each id; memory holds about 250 bytes and the id for each, and every label's text once."""

    labels: dict[bytes, _Label] = field(default_factory=dict)

    def of(self, sample_id: bytes) -> str | None:
        """The sample's label; None where there is none, or it was withdrawn."""
        label = self.labels.get(sample_id)
        return None if label is None else label.text

    def is_labelled(self, sample_id: bytes) -> bool:
        return self.of(sample_id) is not None

    def is_new(self, sample_id: bytes) -> bool:
        """Whether the sample's label is new; see `read_labels`."""
        label = self.labels.get(sample_id)
        return label is not None and label.new and label.text is not None


def read_labels(
    connection: KafkaConnection,
    group: str,
    labels: TopicLabels,
    ranges: Sequence[OffsetRange],
    *,
    reached: Mapping[int, int] | None = None,
) -> LateLabels:
    """The newest label of each id in the ranges.

    In a partition the last one is the newest. Of an id with labels in several partitions, because its writers partition
    keys differently, the label with the latest timestamp counts.

    Args:
        ranges: of the labels topic, frozen.
        reached: offsets by partition; labels at or after them are new.

    Raises:
        TopicRecreated, RangeUnavailable, ReaderStalled: see include.kafka.
    """
    check_ranges(connection, ranges)
    whole = LateLabels()
    texts: dict[str, str] = {}
    invalid, example = 0, ""
    for item in ranges:
        newest: dict[bytes, _Label] = {}
        begin = (reached or {}).get(item.partition, item.start)
        for message in chain.from_iterable(messages for _, messages in read_ranges(connection, group, [item])):
            try:
                text = _text(message, labels)
            except InvalidRecord as error:
                invalid, example = invalid + 1, f"{address_of(message)}: {error.refusal}"
                continue
            text = None if text is None else texts.setdefault(text, text)
            newest[message.key() or b""] = _Label(message.timestamp()[1], text, offset_of(message) >= begin)
        for sample_id, label in newest.items():
            known = whole.labels.get(sample_id)
            if known is None or known.timestamp_ms <= label.timestamp_ms:
                whole.labels[sample_id] = label
    if invalid:
        log.warning("%d records of %s are no labels and are skipped, the last one %s", invalid, labels.topic, example)
    return whole


def _text(message: Message, labels: TopicLabels) -> str | None:
    """The label; None where the record withdraws it.

    Raises:
        InvalidRecord: the record is no label.
    """
    value = message.value()
    if not message.key():
        raise InvalidRecord("no-key", "The record has no key, which would be the sample's id.")
    if not value:
        return None
    if labels.field is not None:
        text = text_field(read_json(value), labels.field)
        if text is None:  # a record about something else does not withdraw a label
            raise InvalidRecord("missing-field", f"Field {labels.field!r} is missing or null.")
        return text
    if len(value) > MAX_FIELD_BYTES:
        raise InvalidRecord("field-too-long", f"The label has {len(value)} bytes and the limit is {MAX_FIELD_BYTES}.")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise InvalidRecord("invalid-utf8", f"The label is not UTF-8: {error.reason}.") from error


def count_labelled(
    connection: KafkaConnection,
    group: str,
    reader: RecordReader,
    ranges: Sequence[OffsetRange],
    reached: Mapping[int, int],
    late: LateLabels,
    *,
    enough: int,
) -> int:
    """How many labelled samples are new, or have a new label, counted up to `enough` or somewhat more.

    New samples are read first; older ones only if labels are new.

    Args:
        ranges: of the samples topic, from its first record on.
        reached: offsets by partition; samples at or after them are new.
    """
    added = [replace(item, start=reached[item.partition]) for item in ranges]
    some_new = any(label.new for label in late.labels.values())
    before = [replace(item, end=reached[item.partition]) for item in ranges] if some_new else []
    count = 0
    for parts, counts in ((added, late.is_labelled), (before, late.is_new)):
        for _, messages in read_ranges(connection, group, parts, batch_size=READ_RECORDS):
            records = reader.read(messages)
            count += sum(
                not isinstance(label, Refusal) and counts(sample_id)
                for label, sample_id in zip(records.labels, records.ids, strict=True)
            )
            if count >= enough:
                return count
    return count
