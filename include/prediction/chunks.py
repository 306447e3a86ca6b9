"""Requests in chunks: what becomes visible in one transaction, bounded in samples and in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from include.kafka.headers import headers_of, headers_size
from include.kafka.position import leader_epoch_before, offset_of
from include.kafka.reader import FEW_RECORDS, read_range

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message

    from include.definition.pipeline import Pipeline
    from include.kafka.connection import KafkaConnection
    from include.kafka.ranges import OffsetRange

# A chunk's samples as float32, however small they are as records.
DECODED_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class RequestChunk:
    """The records of `[start, end)` of one partition, transaction markers and such left out."""

    start: int
    end: int
    messages: list[Message]

    @property
    def leader_epoch(self) -> int:
        """Of the record right before `end`; a marker's is not known."""
        return leader_epoch_before(self.end, self.messages)


def read_chunks(
    connection: KafkaConnection, consumer: Consumer, left: OffsetRange, pipeline: Pipeline, leader_epoch: int
) -> Iterator[RequestChunk]:
    """The range in chunks; the last one ends where the range does, and may have no records.

    Args:
        consumer: made with `include.kafka.reader.FEW_RECORDS_AHEAD`.
        leader_epoch: of the record right before the range, where it is known; see `read_range`.

    Raises:
        RangeUnavailable, LogTruncated, ReaderStalled: see `read_range`.
    """
    limits = pipeline.prediction
    largest = max(prod(pipeline.format.sample_shape), prod(pipeline.format.input_shape))
    samples = max(1, min(limits.chunk_samples, DECODED_BYTES // (4 * largest)))
    start, size = left.start, 0
    chunk: list[Message] = []
    reading = read_range(connection, consumer, left, batch_size=min(samples, FEW_RECORDS), leader_epoch=leader_epoch)
    for messages in reading:
        for message, headers in zip(messages, headers_of(messages), strict=True):
            taken = len(message) + len(message.key() or b"") + headers_size(headers)
            if chunk and (len(chunk) >= samples or size + taken > limits.chunk_bytes):
                end = offset_of(chunk[-1]) + 1
                yield RequestChunk(start, end, chunk)
                start, size, chunk = end, 0, []
            chunk.append(message)
            size += taken
    yield RequestChunk(start, left.end, chunk)
