"""Read records: the content, id, group and label of each, for training, prediction and `peek` alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from include.envelopes.base import MAX_FIELD_BYTES, EnvelopeContent, RowName
from include.given_split import GivenSide, side_of
from include.kafka.columns import Columns
from include.kafka.connection import KafkaConnection
from include.kafka.headers import Headers, headers_of, headers_size, read_headers
from include.kafka.records import Address, address_of
from include.kafka.schema_registry import Schemas
from include.kafka.signing import SigningKeys
from include.reading.layout import FieldLabels, HeaderLabels, KeyLabels, RecordLayout
from include.refusal import InvalidRecord, Refusal
from include.strict_json import parse

if TYPE_CHECKING:
    from confluent_kafka import Message


KNOWN_HEADERS = 8192
KNOWN_HEADERS_SIZE = 4096

# A sample's label, None where its record has none; or why the record is no sample.
LabelOrRefusal = str | Refusal | None

NO_LABEL = Refusal("no-label", "The record has no label.")


@dataclass
class Records:
    """Some records, as parallel lists.

    Attributes:
        labels: the sample's label, or why the record is no sample.
        ids: a field's content, or the record's key, or its address.
        groups: samples of one group stay on one side of the held-out split; by default the id.
        contents: the codec's input; None where the record has no value or is refused.
        changes: in a topic of versions of rows, the change by each record, None where it is refused and its row is
            unknown; otherwise empty.
        splits: the side of a given split, None where the record is refused. Empty where none is given.
    """

    labels: list[LabelOrRefusal] = field(default_factory=list)
    ids: list[bytes] = field(default_factory=list)
    groups: list[bytes] = field(default_factory=list)
    contents: Sequence[bytes | None] = field(default_factory=list)
    changes: list[RowChange | None] = field(default_factory=list)
    splits: list[GivenSide | None] = field(default_factory=list)

    def labelled(self, label_of: Callable[[bytes], str | None]) -> list[LabelOrRefusal]:
        """`labels`, with each sample's label by its id in place of the record's own."""
        return [
            label if isinstance(label, Refusal) else label_of(sample_id)
            for label, sample_id in zip(self.labels, self.ids, strict=True)
        ]


class RowChange(NamedTuple):
    """The change by a record, in a topic of versions of rows.

    Attributes:
        row: the row's id or key; None for a deletion that has only `key`.
        key: the record's key, None if it has none.
        deleted: the row was deleted.
    """

    row: bytes | None
    key: bytes | None
    deleted: bool


class ParsedHeaders(NamedTuple):
    """What the headers of a record say, by themselves."""

    label: LabelOrRefusal
    group: bytes | None
    schema_id: bytes | None = None
    split: GivenSide | None = None


@contextmanager
def record_reader(
    connection: KafkaConnection,
    layout: RecordLayout,
    schema: str,
    *,
    keys: SigningKeys | None = None,
    labelled: bool = True,
    split: bool = False,
) -> Iterator[RecordReader]:
    """A reader, with a client of the Schema Registry if the envelope needs one; the client is closed at the end.

    Raises:
        NoRegistry: the envelope needs a registry and the connection has none.
        RegistryAway, RegistryRefused, NoSuchSchema: see include.kafka.schema_registry and include.envelopes.avro.
    """
    with connection.schema_registry().client() if layout.envelope.needs_registry else nullcontext() as schemas:
        yield RecordReader(layout, schema, keys=keys, schemas=schemas, labelled=labelled, split=split)


class RecordReader:
    """Reads records.

    Args:
        schema: the value that the header `schema` of Millrace's own records must have.
        keys: the keys that signatures are verified with, if records are signed.
        schemas: given if the envelope needs a Schema Registry.
        labelled: False if labels are not needed: then an invalid label is no reason to refuse another application's
            record.
        split: True if the header `split` names the side of a given split; a record without it is refused.
    """

    def __init__(
        self,
        layout: RecordLayout,
        schema: str,
        *,
        keys: SigningKeys | None = None,
        schemas: Schemas | None = None,
        labelled: bool = True,
        split: bool = False,
    ) -> None:
        # A topic has few distinct sets of headers, and a lookup costs a tenth of parsing them.
        self._known: dict[Headers, ParsedHeaders] = {}
        envelope = layout.envelope
        labels = layout.labels if labelled or envelope.own_headers else None
        self._schema = schema if envelope.own_headers else None
        self._label = labels.name if isinstance(labels, HeaderLabels) else None
        self._key_labels = isinstance(labels, KeyLabels)
        self._key_is_label = isinstance(layout.labels, KeyLabels)
        self._quoted = isinstance(labels, HeaderLabels | KeyLabels) and labels.quoted
        self._keys = keys
        self._split = split
        self._row_name = envelope.row_name
        self._envelope = envelope
        self._open = envelope.open_with(schemas, labels.name if isinstance(labels, FieldLabels) else None)

    def read(self, messages: Sequence[Message]) -> Records:
        """Read the messages, in order.

        Raises:
            MillraceError: the Schema Registry cannot be reached, so that a record could neither be read nor refused.
        """
        parsed = self._parsed_headers(messages)
        ids = self._sample_ids(messages)
        splits = [headers.split for headers in parsed] if self._split else []
        if self._open is None:
            return Records(
                labels=[headers.label for headers in parsed],
                ids=ids,
                groups=[headers.group or key for headers, key in zip(parsed, ids, strict=True)],
                contents=[message.value() for message in messages],
                splits=splits,
            )
        records = Records(splits=splits)
        records.contents = [
            self._add_opened(records, message, headers, key)
            for message, headers, key in zip(messages, parsed, ids, strict=True)
        ]
        return records

    def read_columns(self, topic: str, partition: int, columns: Columns) -> Records:
        """The same of records of one partition that are in columns, where `reads_columns`."""
        parsed = list(map(self.parse_headers, columns.header_sets))
        numbers, offsets = columns.headers.tolist(), columns.offsets.tolist()
        ids = [
            key or str(Address(topic, partition, offset)).encode()
            for key, offset in zip(columns.keys, offsets, strict=True)
        ]
        return Records(
            labels=[parsed[number].label for number in numbers],
            ids=ids,
            groups=[parsed[number].group or key for number, key in zip(numbers, ids, strict=True)],
            contents=columns.values,
            splits=[parsed[number].split for number in numbers] if self._split else [],
        )

    def _add_opened(self, records: Records, message: Message, headers: ParsedHeaders, key: bytes) -> bytes | None:
        """Add a record whose envelope is opened to all but `contents`, for which it is returned."""
        label, sample_id, group, content = headers.label, key, headers.group, None
        change: RowChange | None = None
        if self._open is not None and not isinstance(label, Refusal):
            try:
                value = message.value()
                if headers.schema_id is not None and value is not None:
                    value = self._envelope.with_schema_id(headers.schema_id, value)
                opened = self._open(value)
                if self._row_name is not None:
                    change = _row_change(self._row_name, message.key(), opened)
            except InvalidRecord as error:
                label = error.refusal
            else:
                content = opened.content
                sample_id = opened.id or key
                group = opened.group or group
                if opened.label is not None:
                    label = opened.label
                label = opened.refusal or label
        if self._row_name is not None:
            records.changes.append(change or self._unread_change(message, headers))
        records.labels.append(label)
        records.ids.append(sample_id)
        records.groups.append(group or sample_id)
        return content

    def _unread_change(self, message: Message, headers: ParsedHeaders) -> RowChange | None:
        """The change by a refused record: its key still names the row, unless the signature is refused."""
        unsigned = self._keys is not None and isinstance(headers.label, Refusal)
        if self._row_name == "id" or unsigned or not (key := message.key()):
            return None
        return RowChange(key, None, message.value() is None)

    @property
    def reads_columns(self) -> bool:
        """Whether headers, key and value say all, each by itself: see `include.kafka.columns`."""
        return self._open is None and self._keys is None and not self._key_is_label

    @property
    def has_versions(self) -> bool:
        """Whether the topic holds versions of rows."""
        return self._row_name is not None

    def _sample_ids(self, messages: Sequence[Message]) -> list[bytes]:
        """The keys; the addresses of records without a key, or whose key is the label."""
        if self._key_is_label:
            return [str(address_of(message)).encode() for message in messages]
        return [message.key() or str(address_of(message)).encode() for message in messages]

    def _parsed_headers(self, messages: Sequence[Message]) -> list[ParsedHeaders]:
        known, found = self._known, headers_of(messages)
        if self._keys is None:
            parsed = [known.get(headers) or self._parse(headers) for headers in found]
        else:
            parsed = []
            for headers, refusal in map(self._keys.verify, messages, found):
                one = self.parse_headers(headers)
                parsed.append(one if refusal is None else ParsedHeaders(refusal, one.group))
        if not self._key_labels:
            return parsed
        return [
            headers
            if isinstance(headers.label, Refusal)
            else headers._replace(label=_key_label(message.key(), self._quoted))
            for headers, message in zip(parsed, messages, strict=True)
        ]

    def parse_headers(self, headers: Headers) -> ParsedHeaders:
        """What the headers of a record say, by themselves."""
        return self._known.get(headers) or self._parse(headers)

    def _parse(self, headers: Headers) -> ParsedHeaders:
        found = read_headers(headers, label=self._label, own=self._schema is not None, split=self._split)
        refusal = found.refusal if self._schema is None else found.refusal_for(self._schema)
        side = side_of(found.split or "")
        if self._split and refusal is None and side is None:
            error = f"The header split is {found.split!r:.200} and not train, val or test: add it, or split by hash."
            refusal = Refusal("no-split", error)
        label: LabelOrRefusal = found.label
        if self._quoted and found.label is not None:
            label = _unquoted(found.label)
        name = self._envelope.schema_header
        schema_id = None if name is None else dict(headers).get(name)
        parsed = ParsedHeaders(refusal or label, found.group, schema_id, side)
        # The bounds keep the memory flat where `group` makes each set different, or a header of another application has
        # a megabyte.
        if headers_size(headers) <= KNOWN_HEADERS_SIZE:
            if len(self._known) >= KNOWN_HEADERS:
                self._known.clear()
            self._known[headers] = parsed
        return parsed


def _key_label(key: bytes | None, quoted: bool) -> LabelOrRefusal:
    if not key:
        return None
    if len(key) > MAX_FIELD_BYTES:
        return Refusal("field-too-long", f"The key has {len(key)} bytes and the limit of a label is {MAX_FIELD_BYTES}.")
    try:
        label = key.decode()
    except UnicodeDecodeError as error:
        return Refusal("invalid-utf8", f"The key is the label and is not UTF-8: {error.reason}.")
    return _unquoted(label) if quoted else label


def _unquoted(label: str) -> LabelOrRefusal:
    """The content of a label that is a JSON string; a label without double quotes is unchanged."""
    if not label.startswith('"'):
        return label
    try:
        return str(parse(label.encode()))
    except ValueError as error:
        return Refusal("invalid-json", f"The label {label!r:.200} begins like a JSON string and is invalid: {error}.")


def _row_change(row_name: RowName, key: bytes | None, opened: EnvelopeContent) -> RowChange | None:
    """The row that a record changes; None where the record is refused and its id is unknown.

    Raises:
        InvalidRecord: the record names no row.
    """
    if row_name == "id" and opened.id:
        return RowChange(opened.id, key, opened.deleted)
    if row_name == "id" and opened.refusal is not None:
        return None
    if not key:
        raise InvalidRecord("no-key", "The record has no key, which must name its row.")
    return RowChange(None if row_name == "id" else key, key, opened.deleted)
