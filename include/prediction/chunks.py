"""Requests in chunks: what becomes visible in one transaction, bounded in samples, in memory and in work."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from include.codecs import ImageCodec
from include.codecs.raw import RawCodec
from include.kafka.columns import ColumnConsumer, column_consumer
from include.kafka.position import UNKNOWN_EPOCH
from include.kafka.reader import FEW_RECORDS, FEW_RECORDS_AHEAD, read_column_range, read_range
from include.prediction.requests import ColumnRequests, MessageRequests, Requests, joined
from include.reading.records import RecordReader, record_reader
from include.reading.row_versions import RowVersions, read_row_versions

if TYPE_CHECKING:
    import numpy as np
    from confluent_kafka import Consumer

    from include.definition.pipeline import Pipeline
    from include.exactly_once.attempt import Attempt
    from include.kafka.connection import KafkaConnection
    from include.kafka.ranges import OffsetRange

# A chunk's samples as float32, however small they are as records.
DECODED_BYTES = 256 * 1024 * 1024
# Some seconds of decoding: a file of 16 kB may have 16 million pixels, and no stop is noticed within a chunk.
CHUNK_PIXELS = 256_000_000


@dataclass(frozen=True)
class RequestChunk:
    """The requests of `[start, end)` of one partition, transaction markers and such left out."""

    start: int
    end: int
    requests: Requests

    @property
    def leader_epoch(self) -> int:
        """The leader epoch of the record right before `end`; a marker's is not known."""
        offsets = self.requests.offsets
        return self.requests.leader_epoch if offsets and offsets[-1] + 1 == self.end else UNKNOWN_EPOCH


def request_reader(connection: KafkaConnection, pipeline: Pipeline) -> AbstractContextManager[RecordReader]:
    """The reader of a pipeline's requests; for the errors see `record_reader` and `KafkaConnection.signing_keys`."""
    keys = connection.signing_keys(signed=pipeline.signed)
    layout = pipeline.record_layout(pipeline.requests_topic)
    return record_reader(connection, layout, pipeline.format.schema_name, keys=keys, labelled=False)


@contextmanager
def request_consumer(attempt: Attempt, pipeline: Pipeline, reader: RecordReader) -> Iterator[Consumer | ColumnConsumer]:
    """A consumer for `read_chunks`: of columns where the requests can be read as such, as in the feed."""
    if reader.reads_columns and isinstance(pipeline.format, RawCodec):
        with column_consumer(attempt.connection, attempt.group(), **FEW_RECORDS_AHEAD) as consumer:
            if consumer is not None:
                yield consumer
                return
    with attempt.consumer(**FEW_RECORDS_AHEAD) as messages:
        yield messages


def read_chunks(
    connection: KafkaConnection,
    consumer: Consumer | ColumnConsumer,
    left: OffsetRange,
    pipeline: Pipeline,
    reader: RecordReader,
    leader_epoch: int,
) -> Generator[RequestChunk]:
    """The range in chunks; the last one ends where the range does, and may have no records.

    The chunks are the same, whatever the consumer is.

    Args:
        consumer: from `request_consumer`, or made with `include.kafka.reader.FEW_RECORDS_AHEAD`.
        reader: of the requests.
        leader_epoch: of the record right before the range, where it is known; see `read_range`.

    Raises:
        RangeUnavailable, LogTruncated, ReaderStalled: see `read_range`.
    """
    limits = pipeline.prediction
    largest = max(prod(pipeline.format.sample_shape), prod(pipeline.format.input_shape))
    samples = max(1, min(limits.chunk_samples, DECODED_BYTES // (4 * largest)))
    start, count, size, pixels = left.start, 0, 0, 0
    parts: list[Requests] = []
    for found in _read(connection, consumer, left, min(samples, FEW_RECORDS), leader_epoch):
        sizes, drawn, place = found.sizes(), _pixels(found, pipeline, reader), 0
        while place < len(found):
            more = min(
                samples - count,
                _fitting(sizes[place:], limits.chunk_bytes - size),
                _fitting(drawn[place:], CHUNK_PIXELS - pixels),
            )
            if not more and count:
                chunk = joined(left.topic, left.partition, parts)
                end = chunk.offsets[-1] + 1
                yield RequestChunk(start, end, chunk)
                start, count, size, pixels, parts = end, 0, 0, 0, []
                continue
            end = place + max(more, 1)
            parts.append(found.part(place, end))
            count, size, pixels = count + end - place, size + sizes[place:end].sum(), pixels + drawn[place:end].sum()
            place = end
    yield RequestChunk(start, left.end, joined(left.topic, left.partition, parts))


def _read(
    connection: KafkaConnection,
    consumer: Consumer | ColumnConsumer,
    left: OffsetRange,
    batch_size: int,
    leader_epoch: int,
) -> Iterator[Requests]:
    if isinstance(consumer, ColumnConsumer):
        for columns in read_column_range(connection, consumer, left, leader_epoch=leader_epoch):
            yield ColumnRequests(left.topic, left.partition, columns)
        return
    for messages in read_range(connection, consumer, left, batch_size=batch_size, leader_epoch=leader_epoch):
        yield MessageRequests(left.topic, left.partition, messages)


def _fitting(sizes: np.ndarray[Any, Any], room: int) -> int:
    """How many of the first have room together."""
    return int(sizes.cumsum().searchsorted(room, side="right"))


def newest_rows(attempt: Attempt, reader: RecordReader, rest: OffsetRange) -> RowVersions | None:
    """Which requests are the states of their rows at the range's end; None where there are no versions of rows.

    What an earlier attempt has published of the range does not matter: a newer version of a row never lies before it.
    """
    if not reader.has_versions:
        return None
    return read_row_versions(attempt.connection, attempt.group("rows"), reader, [rest], stopped=attempt.stopped)


def _pixels(requests: Requests, pipeline: Pipeline, reader: RecordReader) -> np.ndarray[Any, Any]:
    """int64 array of shape (n,): how many are decoded for each; 0 where all images have the format's own size."""
    import numpy as np

    codec = pipeline.format
    if not isinstance(codec, ImageCodec) or codec.resize is None:
        return np.zeros(len(requests), np.int64)
    return np.array([codec.pixels(content) for content in requests.read(reader).contents], np.int64)
