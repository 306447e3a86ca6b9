"""Records -> what they say of their samples; the one way that training, prediction and `peek` read them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from include.envelopes.base import LONGEST_FIELD_BYTES
from include.given_split import GivenSide, side_of
from include.kafka.headers import Headers, headers_of, headers_size, read_headers
from include.kafka.records import address_of
from include.reading.layout import FieldLabels, HeaderLabels, KeyLabels
from include.refusal import InvalidRecord, Refusal
from include.strict_json import parse

if TYPE_CHECKING:
    from confluent_kafka import Message

    from include.envelopes.base import EnvelopeContent, RowName
    from include.kafka.connection import KafkaConnection
    from include.kafka.schema_registry import Schemas
    from include.kafka.signing import SigningKeys
    from include.reading.layout import RecordLayout

KNOWN_HEADERS = 8192
KNOWN_HEADERS_SIZE = 4096

# A sample's label, None where its record has none; or why the record is no sample.
LabelOrRefusal = str | Refusal | None

NO_LABEL = Refusal("no-label", "The record has no label.")


@dataclass
class Records:
    """What some records say, in lists side by side.

    Attributes:
        labels: the sample's label, or why the record is no sample.
        ids: the sample's name: a field's, the record's key, or its address.
        groups: what must stay on one side of a held-out split; the id where nothing else says so.
        contents: what the format's codec decodes; None where there is none, or the record is refused.
        changes: where the topic holds versions of rows, what each record changes; None where it is refused and its row
            is not known. Empty otherwise.
        splits: the side of a given split, None where the record is refused. Empty where none is given.
    """

    labels: list[LabelOrRefusal] = field(default_factory=list)
    ids: list[bytes] = field(default_factory=list)
    groups: list[bytes] = field(default_factory=list)
    contents: list[bytes | None] = field(default_factory=list)
    changes: list[RowChange | None] = field(default_factory=list)
    splits: list[GivenSide | None] = field(default_factory=list)

    def labelled(self, label_of: Callable[[bytes], str | None]) -> list[LabelOrRefusal]:
        """`labels`, with each sample's label by its id in place of the record's own."""
        return [
            label if isinstance(label, Refusal) else label_of(sample_id)
            for label, sample_id in zip(self.labels, self.ids, strict=True)
        ]


class RowChange(NamedTuple):
    """What a record changes where a topic holds versions of rows.

    Attributes:
        row: the row's id or key; None for a deletion that names its row by `key` alone.
        key: the record's key where rows are named by an id, None where there is none.
        deleted: the row was deleted.
    """

    row: bytes | None
    key: bytes | None
    deleted: bool


class _ParsedHeaders(NamedTuple):
    label: LabelOrRefusal
    group: bytes | None
    schema_id: bytes | None = None
    split: GivenSide | None = None


@contextmanager
def record_reader(
    connection: KafkaConnection,
    reading: RecordLayout,
    schema: str,
    *,
    keys: SigningKeys | None = None,
    labelled: bool = True,
    split: bool = False,
) -> Iterator[RecordReader]:
    """A reader, and its connections to a Schema Registry where it needs one; these are closed at the end.

    Raises:
        NoRegistry: it needs one and the connection has none.
        RegistryAway, RegistryRefused, NoSuchSchema: see include.kafka.schema_registry and include.envelopes.avro.
    """
    if not reading.envelope.needs_registry:
        yield RecordReader(reading, schema, keys=keys, labelled=labelled, split=split)
        return
    with connection.schema_registry().client() as schemas:
        yield RecordReader(reading, schema, keys=keys, schemas=schemas, labelled=labelled, split=split)


class RecordReader(dict[Headers, _ParsedHeaders]):
    """Reads records, and remembers what their headers say.

    A topic has few distinct sets of headers, and a lookup costs a tenth of reading them. Where `group` makes each set
    different, or somebody's header is a megabyte, the bounds keep the memory flat.

    Args:
        schema: what the header `schema` of Millrace's own records has to be.
        keys: where records are signed, the keys that a signature must be of.
        schemas: where the envelope is read with a Schema Registry.
        labelled: False where nobody asks for labels: what is wrong with one in a record of others is no fault then.
        split: True where the header `split` says on which side of a given split a sample is; one without is refused.
    """

    def __init__(
        self,
        reading: RecordLayout,
        schema: str,
        *,
        keys: SigningKeys | None = None,
        schemas: Schemas | None = None,
        labelled: bool = True,
        split: bool = False,
    ) -> None:
        super().__init__()
        envelope = reading.envelope
        labels = reading.labels if labelled or envelope.own_headers else None
        self._schema = schema if envelope.own_headers else None
        self._label = labels.name if isinstance(labels, HeaderLabels) else None
        self._key_labels = labels if isinstance(labels, KeyLabels) else None
        self._key_is_label = isinstance(reading.labels, KeyLabels)
        self._quoted = isinstance(labels, HeaderLabels | KeyLabels) and labels.quoted
        self._keys = keys
        self._split = split
        self._row_name = envelope.row_name
        self._envelope = envelope
        self._open = envelope.open_with(schemas, labels.name if isinstance(labels, FieldLabels) else None)

    def __missing__(self, headers: Headers) -> _ParsedHeaders:
        head = self._read(headers)
        if headers_size(headers) <= KNOWN_HEADERS_SIZE:
            if len(self) >= KNOWN_HEADERS:
                self.clear()
            self[headers] = head
        return head

    def read(self, messages: Sequence[Message]) -> Records:
        """What the messages say, in order.

        Raises:
            MillraceError: what a record needs to be read with can't be reached; nothing is known of the record then.
        """
        heads = self._heads(messages)
        ids = [self._key_of(message) or str(address_of(message)).encode() for message in messages]
        splits = [head.split for head in heads] if self._split else []
        if self._open is None:
            return Records(
                labels=[head.label for head in heads],
                ids=ids,
                groups=[head.group or key for head, key in zip(heads, ids, strict=True)],
                contents=[message.value() for message in messages],
                splits=splits,
            )
        records = Records(splits=splits)
        for message, head, key in zip(messages, heads, ids, strict=True):
            self._add_opened(records, message, head, key)
        return records

    def _add_opened(self, records: Records, message: Message, head: _ParsedHeaders, key: bytes) -> None:
        label, sample_id, group, content = head.label, key, head.group, None
        change: RowChange | None = None
        if self._open is not None and not isinstance(label, Refusal):
            try:
                opened = self._open(self._value_of(message, head))
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
            records.changes.append(change or self._unread_change(message, head))
        records.labels.append(label)
        records.ids.append(sample_id)
        records.groups.append(group or sample_id)
        records.contents.append(content)

    def _value_of(self, message: Message, head: _ParsedHeaders) -> bytes | None:
        value = message.value()
        if head.schema_id is None or not value:
            return value
        return self._envelope.with_schema_id(head.schema_id, value)

    def _unread_change(self, message: Message, head: _ParsedHeaders) -> RowChange | None:
        """The change of a record that is refused: its key names the row all the same, but not without a signature."""
        unsigned = self._keys is not None and isinstance(head.label, Refusal)
        if self._row_name == "id" or unsigned or not (key := message.key()):
            return None
        return RowChange(key, None, message.value() is None)

    @property
    def has_versions(self) -> bool:
        """Whether the topic holds versions of rows."""
        return self._row_name is not None

    def _key_of(self, message: Message) -> bytes | None:
        """The key, where it is the sample's id."""
        return None if self._key_is_label else message.key()

    def _heads(self, messages: Sequence[Message]) -> list[_ParsedHeaders]:
        heads = self._parsed_headers(messages)
        if self._key_labels is None:
            return heads
        return [
            head if isinstance(head.label, Refusal) else head._replace(label=_key_label(message.key(), self._quoted))
            for head, message in zip(heads, messages, strict=True)
        ]

    def _parsed_headers(self, messages: Sequence[Message]) -> list[_ParsedHeaders]:
        found = headers_of(messages)
        if self._keys is None:
            return [self[headers] for headers in found]
        return [
            self[headers] if refusal is None else _ParsedHeaders(refusal, self[headers].group)
            for headers, refusal in map(self._keys.verify, messages, found)
        ]

    def _read(self, headers: Headers) -> _ParsedHeaders:
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
        return _ParsedHeaders(refusal or label, found.group, schema_id, side)


def _key_label(key: bytes | None, quoted: bool) -> LabelOrRefusal:
    if not key:
        return None
    if len(key) > LONGEST_FIELD_BYTES:
        return Refusal("field-too-long", f"The key has {len(key)} bytes, {LONGEST_FIELD_BYTES} at most are a label.")
    try:
        label = key.decode()
    except UnicodeDecodeError as error:
        return Refusal("invalid-utf8", f"The key is the label and is not UTF-8: {error.reason}.")
    return _unquoted(label) if quoted else label


def _unquoted(label: str) -> LabelOrRefusal:
    """What a JSON string holds; a label that is not in double quotes stands for itself."""
    if not label.startswith('"'):
        return label
    try:
        return str(parse(label.encode()))
    except ValueError as error:
        return Refusal("invalid-json", f"The label {label!r:.200} begins as a JSON string and is none: {error}.")


def _row_change(row_name: RowName, key: bytes | None, opened: EnvelopeContent) -> RowChange | None:
    """Which row a record changes; None where it is refused and its id is not known.

    Raises:
        InvalidRecord: it doesn't say.
    """
    if row_name == "id" and opened.id:
        return RowChange(opened.id, key, opened.deleted)
    if row_name == "id" and opened.refusal is not None:
        return None
    if not key:
        raise InvalidRecord("no-key", "The record has no key, which would name its row.")
    return RowChange(None if row_name == "id" else key, key, opened.deleted)
