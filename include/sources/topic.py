"""An external Kafka topic, one sample a record.

A topic has no positions: several partitions grow at once, and markers, aborted records and compaction leave gaps
between offsets. So a batch's records are chosen once, as a range of offsets in each partition, and those ranges are the
source's `prefix`, which the ledger keeps with the batch and its end.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Annotated, Any, Literal, NamedTuple, Protocol, Self

from pydantic import Field, PrivateAttr

from include.sources.base import Source, SourceChanged, SourceRefused, SourceSample, another_source, take

UNKNOWN_EPOCH = -1


class TopicRange(NamedTuple):
    """Offsets `start` to `end`, exclusive, of a partition.

    The leader epochs are those of the records right before the range and at its end; Kafka detects by them a log that
    has lost its tail and grown again. -1 if they are unknown, as for markers.
    """

    partition: int
    start: int
    end: int
    epoch_before: int = UNKNOWN_EPOCH
    last_epoch: int = UNKNOWN_EPOCH


class TopicRecord(NamedTuple):
    """A record; `headers` is None where they can't be read."""

    partition: int
    offset: int
    leader_epoch: int
    value: bytes | None
    headers: Mapping[str, bytes | None] | None


class TopicReader(Protocol):
    """Reads a topic; a protocol, because sources import no Kafka client."""

    def bounds(self) -> tuple[str, list[TopicRange]]:
        """The topic's id, and each partition's range up to its last stable offset."""

    def read(self, topic_id: str, ranges: Sequence[TopicRange]) -> Iterator[TopicRecord]:
        """The committed records of the ranges, in order; raises if a range is no longer complete."""


class TopicSource(Source):
    """Unchanged records: the value is in the pipeline's format, the id is `<topic>/<partition>/<offset>`.

    Raises if retention removed records before they were sent, or if the topic was recreated.

    Args:
        connection: the Airflow connection of the cluster; the pipeline's own by default.
        label_header, group_header: the headers with label and group; a record without them has none.
        labels: the accepted labels, empty for all; a log can't be corrected, so a record with another label is left
            out and logged.
        accept_lost: continue without the records that retention removed before they were sent.
    """

    kind: Literal["topic"] = "topic"
    topic: Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,249}$")]
    connection: Annotated[str, Field(min_length=1)] | None = None
    label_header: Annotated[str, Field(min_length=1)] = "label"
    group_header: Annotated[str, Field(min_length=1)] = "group"
    labels: tuple[str, ...] = ()
    accept_lost: bool = False

    _reader: TopicReader | None = PrivateAttr(None)
    _topic_id: str = PrivateAttr("")
    _start: int = PrivateAttr(0)
    _ranges: tuple[TopicRange, ...] = PrivateAttr(())
    _taken: int | None = PrivateAttr(None)
    _reading: tuple[int, Iterator[SourceSample]] | None = PrivateAttr(None)

    def through(self, reader: TopicReader) -> Self:
        source = self.model_copy()
        source._reader = reader
        return source

    def count(self) -> int:
        """The number of records up to the end of the chosen ranges, or of the whole topic before a choice."""
        source = self._chosen_or_whole()
        if source._taken is None:
            source._taken = sum(1 for _ in source._read_by().read(source._topic_id, source._ranges))
        return source._start + source._taken

    def read(self, start: int, count: int) -> list[SourceSample]:
        # Continuing costs nothing; any other start skips all records before it.
        if self._reading is None or self._reading[0] != start:
            source = self._chosen_or_whole()
            records = source._read_by().read(source._topic_id, source._ranges)
            self._reading = start, map(self._sample, islice(records, start - source._start, None))
        reading = self._reading[1]
        samples = take(reading, count)
        self._reading = (start + len(samples), reading) if samples else None
        return samples

    def resume(self, position: int, prefix: dict[str, Any], most: int) -> Self:
        self.check_prefix(position, prefix)
        topic_id, bounds = self._read_by().bounds()
        if position and prefix["topic_id"] != topic_id:
            raise SourceChanged(
                f"Topic {self.topic} has id {topic_id} and the first {position} samples came from id "
                f"{prefix['topic_id']}: it was deleted and recreated, so give the pipeline's file a new name."
            )
        sent = {item.partition: item for item in _ranges_in(prefix)}
        left = [self._behind(sent.get(item.partition), item) for item in bounds]
        return self._with(topic_id, position, *self._take(topic_id, left, most))

    def again(self, start: int, count: int, prefix: dict[str, Any]) -> Self:
        self.check_prefix(start + count, prefix)
        return self._with(prefix["topic_id"], start, _ranges_in(prefix), count)

    def prefix(self, position: int) -> dict[str, Any]:  # noqa: ARG002 - the end of what was chosen
        return {"topic": self.topic, "topic_id": self._topic_id, "ranges": [list(item) for item in self._ranges]}

    def check_prefix(self, position: int, prefix: dict[str, Any]) -> None:
        if position and prefix.get("topic") != self.topic:
            raise SourceChanged(another_source(position))

    def _with(self, topic_id: str, start: int, ranges: Sequence[TopicRange], taken: int | None) -> Self:
        source = self.model_copy()
        source._topic_id, source._start, source._ranges = topic_id, start, tuple(ranges)
        source._taken, source._reading = taken, None
        return source

    def _chosen_or_whole(self) -> Self:
        if self._topic_id:
            return self
        topic_id, whole = self._read_by().bounds()
        return self._with(topic_id, 0, whole, None)

    def _read_by(self) -> TopicReader:
        if self._reader is None:
            raise SourceRefused(
                f"Topic {self.topic} is read through a Kafka connection, which only ingest has: run the pipeline's "
                "ingest DAG, or hand a reader to the source's method through()."
            )
        return self._reader

    def _behind(self, sent: TopicRange | None, held: TopicRange) -> TopicRange:
        """The part of a partition after what was sent."""
        if sent is None:
            return held
        where = f"Topic {self.topic} partition {held.partition} was sent up to offset {sent.end} and"
        if sent.end > held.end:
            raise SourceChanged(
                f"{where} its log now ends at {held.end}: its tail was lost (an unclean leader election, or a restored "
                "disk) and its offsets mean other records now, so give the pipeline's file a new name."
            )
        if sent.end >= held.start:
            return TopicRange(held.partition, sent.end, held.end, sent.last_epoch)
        if not self.accept_lost:
            raise SourceRefused(
                f"{where} begins at {held.start} now: retention removed the offsets between before they were sent, so "
                "set accept_lost = true in [source] to go on without them, and ingest more often."
            )
        return held

    def _take(self, topic_id: str, left: list[TopicRange], most: int) -> tuple[list[TopicRange], int]:
        """Ranges of at most `most` records in all, and their count; short partitions are not held up by long ones."""
        chosen: list[TopicRange] = []
        taken = 0
        for turn, item in enumerate(sorted(left, key=lambda item: item.end - item.start)):
            share = -(-(most - taken) // (len(left) - turn))
            number, end, epoch = 0, item.start, item.epoch_before
            for record in self._read_by().read(topic_id, [item]):
                if number == share:
                    break
                number, end, epoch = number + 1, record.offset + 1, record.leader_epoch
            else:
                if end < item.end:
                    # After the last record there are markers, possibly of a later leader.
                    end, epoch = item.end, UNKNOWN_EPOCH
            chosen.append(item._replace(end=end, last_epoch=epoch))
            taken += number
        return sorted(chosen), taken

    def _sample(self, record: TopicRecord) -> SourceSample:
        identity = f"{self.topic}/{record.partition}/{record.offset}"
        if record.value is None:
            return SourceSample(identity, b"", fault="The record has no value.")
        if record.headers is None:
            return SourceSample(identity, b"", fault="A header's name is not UTF-8: no header can be read.")
        try:
            label, group = (_text(record.headers, name) for name in (self.label_header, self.group_header))
        except UnicodeDecodeError as error:
            return SourceSample(identity, b"", fault=f"The label or group is not UTF-8 ({error.reason}).")
        if self.labels and label is not None and label not in self.labels:
            return SourceSample(identity, b"", fault=f"The label {label!r:.200} is none of [source] labels.")
        return SourceSample(identity, record.value, label, group)


def _ranges_in(prefix: Mapping[str, Any]) -> list[TopicRange]:
    return [TopicRange(*item) for item in prefix.get("ranges", ())]


def _text(headers: Mapping[str, bytes | None], name: str) -> str | None:
    content = headers.get(name)
    return None if not content else content.decode()
