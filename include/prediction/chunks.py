"""Requests in chunks: what becomes visible in one transaction, bounded in samples, in memory and in work."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from include.codecs import ImageCodec
from include.kafka.headers import headers_of, headers_size
from include.kafka.position import leader_epoch_before, offset_of
from include.kafka.reader import FEW_RECORDS, read_range
from include.reading.records import RecordReader, record_reader
from include.reading.row_versions import RowVersions, read_row_versions

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message

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
    """The records of `[start, end)` of one partition, transaction markers and such left out."""

    start: int
    end: int
    messages: list[Message]

    @property
    def leader_epoch(self) -> int:
        """The leader epoch of the record right before `end`; a marker's is not known."""
        return leader_epoch_before(self.end, self.messages)


def request_reader(connection: KafkaConnection, pipeline: Pipeline) -> AbstractContextManager[RecordReader]:
    """The reader of a pipeline's requests; for the errors see `record_reader` and `KafkaConnection.signing_keys`."""
    keys = connection.signing_keys(signed=pipeline.signed)
    layout = pipeline.record_layout(pipeline.requests_topic)
    return record_reader(connection, layout, pipeline.format.schema_name, keys=keys, labelled=False)


def read_chunks(
    connection: KafkaConnection,
    consumer: Consumer,
    left: OffsetRange,
    pipeline: Pipeline,
    reader: RecordReader,
    leader_epoch: int,
) -> Generator[RequestChunk]:
    """The range in chunks; the last one ends where the range does, and may have no records.

    Args:
        consumer: made with `include.kafka.reader.FEW_RECORDS_AHEAD`.
        reader: of the requests.
        leader_epoch: of the record right before the range, where it is known; see `read_range`.

    Raises:
        RangeUnavailable, LogTruncated, ReaderStalled: see `read_range`.
    """
    limits = pipeline.prediction
    largest = max(prod(pipeline.format.sample_shape), prod(pipeline.format.input_shape))
    samples = max(1, min(limits.chunk_samples, DECODED_BYTES // (4 * largest)))
    start, size, pixels = left.start, 0, 0
    chunk: list[Message] = []
    reading = read_range(connection, consumer, left, batch_size=min(samples, FEW_RECORDS), leader_epoch=leader_epoch)
    for messages in reading:
        drawn = _pixels(messages, pipeline, reader)
        for message, headers, more in zip(messages, headers_of(messages), drawn, strict=True):
            taken = len(message) + len(message.key() or b"") + headers_size(headers)
            full = len(chunk) >= samples or size + taken > limits.chunk_bytes or pixels + more > CHUNK_PIXELS
            if chunk and full:
                end = offset_of(chunk[-1]) + 1
                yield RequestChunk(start, end, chunk)
                start, size, pixels, chunk = end, 0, 0, []
            chunk.append(message)
            size += taken
            pixels += more
    yield RequestChunk(start, left.end, chunk)


def newest_rows(attempt: Attempt, reader: RecordReader, rest: OffsetRange) -> RowVersions | None:
    """Which requests are the states of their rows at the range's end; None where there are no versions of rows.

    What an earlier attempt has published of the range does not matter: a newer version of a row never lies before it.
    """
    if not reader.has_versions:
        return None
    return read_row_versions(attempt.connection, attempt.group("rows"), reader, [rest], stopped=attempt.stopped)


def _pixels(messages: Sequence[Message], pipeline: Pipeline, reader: RecordReader) -> list[int]:
    """How many pixels are decoded for each record; 0 where all images have the format's own size."""
    codec = pipeline.format
    if not isinstance(codec, ImageCodec) or codec.resize is None:
        return [0] * len(messages)
    return [codec.pixels(content) for content in reader.read(messages).contents]
