"""Consume records as columns: arrays that C code fills through librdkafka, with no Python object for a record.

The C code is include/native/columns.c. Where it can't be used, or the settings need Python while librdkafka works,
there are no columns, and the records are read as messages: see `include.kafka.reader`.
"""

from __future__ import annotations

import ctypes
import logging
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char_p, c_int, c_int32, c_int64, c_size_t, c_void_p
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from include.errors import one_line
from include.kafka.connection import KafkaConnection, client_log, log_client_error
from include.kafka.headers import UNREADABLE, Headers
from include.kafka.position import UNKNOWN_EPOCH
from include.kafka.ranges import OffsetRange
from include.native.library import NoLibrary, native_library
from include.packed_values import PackedValues

if TYPE_CHECKING:
    import numpy as np
    from confluent_kafka import KafkaError

log = logging.getLogger(__name__)

# A message is a public struct, the same since librdkafka 0.9.
LIBRDKAFKA = range(0x02000000, 0x03000000)
# A batch has enough records for array operations, and about as many bytes whatever the records' size: several batches
# are read ahead.
FEWEST_RECORDS, FIRST_RECORDS, MOST_RECORDS = 4, 128, 2048
BATCH_BYTES = 2 * 2**20

CONSUMER, OK = 1, 0
LOG_EVENT, ERROR_EVENT = 4, 8
ERROR_TEXT_BYTES = 512
SIZE = struct.Struct("=q")
LEVELS = (*[logging.CRITICAL] * 3, logging.ERROR, logging.WARNING, logging.INFO, logging.INFO, logging.DEBUG)


@dataclass(frozen=True)
class Columns:
    """Records of one partition, in their order.

    Attributes:
        offsets: int64 array of shape (n,).
        timestamps: int64 array of shape (n,), in milliseconds since the epoch.
        leader_epochs: int32 array of shape (n,), -1 where one is not known.
        values, keys: the records' own.
        key_hashes: uint32 array of shape (n,): the keys' CRC-32.
        header_sets: the distinct headers, as `include.kafka.headers.headers_of` returns them.
        headers: int32 array of shape (n,): the number of each record's set.
    """

    offsets: np.ndarray[Any, Any]
    timestamps: np.ndarray[Any, Any]
    leader_epochs: np.ndarray[Any, Any]
    values: PackedValues
    keys: PackedValues
    key_hashes: np.ndarray[Any, Any]
    header_sets: list[Headers]
    headers: np.ndarray[Any, Any]

    def __len__(self) -> int:
        return len(self.offsets)

    def part(self, start: int, end: int) -> Columns:
        """The records between two places."""
        part = slice(start, end)
        return Columns(
            self.offsets[part],
            self.timestamps[part],
            self.leader_epochs[part],
            self.values.part(start, end),
            self.keys.part(start, end),
            self.key_hashes[part],
            self.header_sets,
            self.headers[part],
        )

    @classmethod
    def joined(cls, parts: Sequence[Columns]) -> Columns:
        """The records of several, of which there is at least one."""
        import numpy as np

        firsts = accumulate((len(part.header_sets) for part in parts), initial=0)
        return cls(
            np.concatenate([part.offsets for part in parts]),
            np.concatenate([part.timestamps for part in parts]),
            np.concatenate([part.leader_epochs for part in parts]),
            PackedValues.joined([part.values for part in parts]),
            PackedValues.joined([part.keys for part in parts]),
            np.concatenate([part.key_hashes for part in parts]),
            [headers for part in parts for headers in part.header_sets],
            np.concatenate([part.headers + first for part, first in zip(parts, firsts, strict=False)]),
        )


class Event(NamedTuple):
    """What librdkafka reports between records."""

    error: KafkaError
    offset: int


@contextmanager
def column_consumer(connection: KafkaConnection, group: str, **overrides: Any) -> Iterator[ColumnConsumer | None]:
    """A consumer like that of `KafkaConnection.consumer`, for columns, closed at the end; None where there can be none.

    It is a client of its own, made from the same settings, and so are its semantics: logins, encryption, aborted
    records, moved leaders and events are librdkafka's.

    Raises:
        InvalidSettings: see `include.kafka.settings`; where librdkafka refuses a setting, the consumer is None.
    """
    library = _library()
    settings = _texts(connection.consumer_settings(group, **overrides))
    handle = None if library is None or settings is None else library.client(settings)
    if library is None or handle is None:
        yield None
        return
    consumer = ColumnConsumer(library, handle, group)
    try:
        yield consumer
    finally:
        consumer.close()


class ColumnConsumer:
    """See `column_consumer`; `group` is its consumer group."""

    def __init__(self, library: _Library, handle: int, group: str) -> None:
        self.group = group
        self._library = library
        self._kafka = library.kafka
        self._handle = handle
        self._queue = self._kafka.rd_kafka_queue_get_consumer(handle)
        self._main = self._kafka.rd_kafka_queue_get_main(handle)
        self._kafka.rd_kafka_set_log_queue(handle, self._main)
        self._reader = library.native.columns_new(byref(library.client_functions), MOST_RECORDS)
        if not self._reader:
            raise MemoryError
        self._most = FIRST_RECORDS

    def assign(self, wanted: OffsetRange, leader_epoch: int = UNKNOWN_EPOCH) -> None:
        """Read from the beginning of the range, and nothing else.

        Args:
            leader_epoch: of the last record before the range, if known.
        """
        partitions = self._kafka.rd_kafka_topic_partition_list_new(1)
        try:
            topic = wanted.topic.encode()
            partition = self._kafka.rd_kafka_topic_partition_list_add(partitions, topic, wanted.partition)
            self._kafka.rd_kafka_topic_partition_set_leader_epoch(partition, leader_epoch)
            self._kafka.rd_kafka_topic_partition_list_set_offset(partitions, topic, wanted.partition, wanted.start)
            self._check(self._kafka.rd_kafka_assign(self._handle, partitions))
        finally:
            self._kafka.rd_kafka_topic_partition_list_destroy(partitions)

    def consume(self, most: int, timeout_s: float) -> tuple[Columns, list[Event]]:
        """At most so many records, and the events, after at most the timeout."""
        import numpy as np

        sizes = (c_int64 * 3)()
        most = min(most, self._most)
        count = self._library.native.columns_take(self._reader, self._queue, int(timeout_s * 1000), most, sizes)
        if count < 0:
            self._check(self._kafka.rd_kafka_last_error())
        self._report()
        count = max(count, 0)
        records, value_bytes, key_bytes = sizes if count else (0, 0, 0)
        offsets, timestamps, value_sizes, key_sizes = np.empty((4, count), np.int64)
        hashes = np.empty(count, np.uint32)
        epochs, headers, errors = np.empty((3, count), np.int32)
        values, keys = np.empty(value_bytes, np.uint8), np.empty(key_bytes, np.uint8)
        outputs = (offsets, timestamps, value_sizes, key_sizes, hashes, epochs, headers, errors, values, keys)
        arrays = _Arrays(*(array.ctypes.data for array in outputs))
        sets = self._library.native.columns_copy(self._reader, byref(arrays)) if count else 0
        if sets < 0:
            raise MemoryError
        of_records = int(np.maximum(value_sizes[:records], 0).sum())
        if records:
            size = of_records + key_bytes + self._library.native.columns_header_bytes(self._reader)
            self._most = max(FEWEST_RECORDS, min(MOST_RECORDS, BATCH_BYTES * records // max(size, 1)))
        columns = Columns(
            offsets[:records],
            timestamps[:records],
            epochs[:records],
            PackedValues(values[:of_records], value_sizes[:records]),
            PackedValues(keys[: int(np.maximum(key_sizes[:records], 0).sum())], key_sizes[:records]),
            hashes[:records],
            self._header_sets(sets),
            headers[:records],
        )
        if records == count:
            return columns, []
        texts = PackedValues(values[of_records:], value_sizes[records:])
        return columns, list(map(_event, errors[records:].tolist(), offsets[records:].tolist(), texts))

    def last_offset(self, records: Columns) -> int:
        return int(records.offsets[-1])

    def before(self, records: Columns, end: int) -> Columns:
        """The records before an offset."""
        return records.part(0, int((records.offsets < end).sum()))

    def close(self) -> None:
        self._library.native.columns_free(self._reader)
        self._kafka.rd_kafka_consumer_close(self._handle)
        self._kafka.rd_kafka_queue_destroy(self._queue)
        self._kafka.rd_kafka_queue_destroy(self._main)
        self._kafka.rd_kafka_destroy(self._handle)

    def _header_sets(self, count: int) -> list[Headers]:
        """The sets of headers of the last batch."""
        if not count:
            return []
        native = self._library.native
        starts = native.columns_set_starts(self._reader)[: count + 1]
        content = ctypes.string_at(native.columns_sets(self._reader), starts[-1])
        return [_headers(content[start:end]) for start, end in pairwise(starts)]

    def _report(self) -> None:
        """Log what librdkafka reports of the client as a whole, which `consume` does not return."""
        from confluent_kafka import KafkaError

        kafka = self._kafka
        while event := kafka.rd_kafka_queue_poll(self._main, 0):
            if kafka.rd_kafka_event_type(event) == ERROR_EVENT:
                text = kafka.rd_kafka_event_error_string(event).decode(errors="replace")
                log_client_error(KafkaError(kafka.rd_kafka_event_error(event), text))
            else:
                facility, text, level = c_char_p(), c_char_p(), c_int()
                if not kafka.rd_kafka_event_log(event, byref(facility), byref(text), byref(level)):
                    parts = [(part.value or b"").decode(errors="replace") for part in (facility, text)]
                    client_log.log(LEVELS[level.value & 7], "%s %s", *parts)
            kafka.rd_kafka_event_destroy(event)

    def _check(self, code: int) -> None:
        from confluent_kafka import KafkaError, KafkaException

        if code != OK:
            raise KafkaException(KafkaError(code))


def _event(code: int, offset: int, text: bytes | None) -> Event:
    from confluent_kafka import KafkaError

    return Event(KafkaError(code, text.decode(errors="replace")) if text else KafkaError(code), offset)


def _headers(content: bytes) -> Headers:
    """A set of headers as `write_headers` in columns.c writes it; see `include.kafka.headers.headers_of`."""
    found: list[tuple[str, bytes | None]] = []
    place = 0
    while place < len(content):
        name_end = content.index(b"\0", place)
        (size,) = SIZE.unpack_from(content, name_end + 1)
        begin = name_end + 1 + SIZE.size
        try:
            name = content[place:name_end].decode()
        except UnicodeDecodeError:
            return ((UNREADABLE, b""),)
        place = begin + max(size, 0)
        found.append((name, None if size < 0 else content[begin:place]))
    return tuple(found)


def _texts(settings: dict[str, Any]) -> dict[str, str] | None:
    """The settings as librdkafka reads them; None where one is a function, or is to call one."""
    left = {name: value for name, value in settings.items() if value is not log_client_error}
    if any(callable(value) for value in left.values()):
        return None
    # Its tokens are asked for by a callback that only `poll` of confluent_kafka serves.
    if any(str(value).upper() == "OAUTHBEARER" for name, value in left.items() if name.startswith("sasl.mechanism")):
        return None
    return {name: str(value) for name, value in left.items() if value is not None}


class _Functions(ctypes.Structure):
    """`client` in columns.c."""

    _fields_ = [(name, c_void_p) for name in ("consume", "destroy", "timestamp", "leader_epoch", "headers", "header")]


class _Arrays(ctypes.Structure):
    """`columns` in columns.c."""

    _fields_ = [
        (name, c_void_p)
        for name in (
            *("offset", "timestamp", "value_size", "key_size"),
            *("hash", "leader_epoch", "headers", "error", "values", "keys"),
        )
    ]


class _Library:
    """The two libraries: the functions of `kafka` are librdkafka's, those of `native` are of columns.c."""

    def __init__(self, kafka: ctypes.CDLL, native: ctypes.CDLL) -> None:
        self.kafka = kafka
        self.native = native
        for name, result, *arguments in RDKAFKA:
            function = getattr(kafka, name)
            function.restype, function.argtypes = result, arguments
        for name, result, *arguments in NATIVE:
            function = getattr(native, name)
            function.restype, function.argtypes = result, arguments
        self.client_functions = _Functions(
            *(
                ctypes.cast(getattr(kafka, f"rd_kafka_{name}"), c_void_p)
                for name in (
                    *("consume_batch_queue", "message_destroy", "message_timestamp", "message_leader_epoch"),
                    *("message_headers", "header_get_all"),
                )
            )
        )

    def client(self, settings: dict[str, str]) -> int | None:
        """A consumer's handle; None where librdkafka refuses the settings."""
        conf, text = self.kafka.rd_kafka_conf_new(), ctypes.create_string_buffer(ERROR_TEXT_BYTES)
        handle: int | None = None
        if all(
            self.kafka.rd_kafka_conf_set(conf, name.encode(), value.encode(), text, len(text)) == OK
            for name, value in {**settings, "log.queue": "true"}.items()
        ):
            self.kafka.rd_kafka_conf_set_events(conf, LOG_EVENT | ERROR_EVENT)
            handle = self.kafka.rd_kafka_new(CONSUMER, conf, text, len(text))
        if not handle:
            self.kafka.rd_kafka_conf_destroy(conf)
        return handle


# Name, result and arguments of each function; pointers to librdkafka's own structs are `c_void_p`.
RDKAFKA: tuple[tuple[Any, ...], ...] = (
    ("rd_kafka_version", c_int),
    ("rd_kafka_last_error", c_int),
    ("rd_kafka_conf_new", c_void_p),
    ("rd_kafka_conf_set", c_int, c_void_p, c_char_p, c_char_p, c_char_p, c_size_t),
    ("rd_kafka_conf_set_events", None, c_void_p, c_int),
    ("rd_kafka_conf_destroy", None, c_void_p),
    ("rd_kafka_new", c_void_p, c_int, c_void_p, c_char_p, c_size_t),
    ("rd_kafka_destroy", None, c_void_p),
    ("rd_kafka_consumer_close", c_int, c_void_p),
    ("rd_kafka_assign", c_int, c_void_p, c_void_p),
    ("rd_kafka_topic_partition_list_new", c_void_p, c_int),
    ("rd_kafka_topic_partition_list_add", c_void_p, c_void_p, c_char_p, c_int32),
    ("rd_kafka_topic_partition_list_set_offset", c_int, c_void_p, c_char_p, c_int32, c_int64),
    ("rd_kafka_topic_partition_set_leader_epoch", None, c_void_p, c_int32),
    ("rd_kafka_topic_partition_list_destroy", None, c_void_p),
    ("rd_kafka_queue_get_consumer", c_void_p, c_void_p),
    ("rd_kafka_queue_get_main", c_void_p, c_void_p),
    ("rd_kafka_queue_destroy", None, c_void_p),
    ("rd_kafka_set_log_queue", c_int, c_void_p, c_void_p),
    ("rd_kafka_queue_poll", c_void_p, c_void_p, c_int),
    ("rd_kafka_event_type", c_int, c_void_p),
    ("rd_kafka_event_error", c_int, c_void_p),
    ("rd_kafka_event_error_string", c_char_p, c_void_p),
    ("rd_kafka_event_log", c_int, c_void_p, POINTER(c_char_p), POINTER(c_char_p), POINTER(c_int)),
    ("rd_kafka_event_destroy", None, c_void_p),
)
NATIVE: tuple[tuple[Any, ...], ...] = (
    ("columns_new", c_void_p, c_void_p, c_int64),
    ("columns_free", None, c_void_p),
    ("columns_take", c_int64, c_void_p, c_void_p, c_int, c_int64, POINTER(c_int64)),
    ("columns_copy", c_int32, c_void_p, c_void_p),
    ("columns_sets", c_void_p, c_void_p),
    ("columns_set_starts", POINTER(c_int64), c_void_p),
    ("columns_header_bytes", c_int64, c_void_p),
)


@cache
def _library() -> _Library | None:
    """The libraries; None where they can't be had, which is logged once."""
    try:
        return _Library(_librdkafka(), native_library("columns"))
    except NoLibrary as error:
        reason = str(error)
    except (OSError, AttributeError) as error:
        reason = one_line(error)
    log.info("Records are read one at a time, which takes longer (%s).", reason)
    return None


def _librdkafka() -> ctypes.CDLL:
    """The library that confluent_kafka uses, which is loaded already.

    Raises:
        OSError: it is not found, or is of another version than the functions and the struct here are of.
    """
    from confluent_kafka import cimpl

    # In a library, the functions of those that it depends on are found, too.
    kafka = ctypes.CDLL(cimpl.__file__)
    if (version := kafka.rd_kafka_version()) not in LIBRDKAFKA:
        raise OSError(f"librdkafka has version {version:#x} and 2 is known")
    return kafka
