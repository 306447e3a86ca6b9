"""Write predictions to Parquet files exactly once: the content of a file is in the ledger before it is written.

A piece of a partition, `[start, end)`, is planned in one transaction and recorded as done in another. Between them its
files are written, under names that follow from the piece. So an attempt that was killed between the two, and one that
goes on after another has taken over, write the same rows to the same files as the next attempt.
"""

from __future__ import annotations

import io
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any

from include.definition.pipeline import Pipeline
from include.errors import PermanentError
from include.exactly_once.attempt import Attempt, Step
from include.exactly_once.progress import position_in, progress_entry, progress_scope, refuse_truncated
from include.exactly_once.transaction import TransactionalWriter
from include.export.folder import ExportFolder
from include.kafka.headers import headers_of, headers_size
from include.kafka.position import UNKNOWN_EPOCH, leader_epoch_before, offset_of
from include.kafka.ranges import OffsetRange, freeze_ranges
from include.kafka.reader import read_range
from include.metrics import Counters
from include.prediction.read import LEFT_OUT, predictions_table

if TYPE_CHECKING:
    import pandas as pd
    from confluent_kafka import Consumer, Message


log = logging.getLogger(__name__)

STEP: Step = "export"
# Kept with a partition's position: the end of the piece whose files may exist already.
PLANNED = "planned"
URL_SAFE = str.maketrans("+/", "-_")
# A record may have a megabyte, so a number of rows alone would not bound a piece.
PIECE_BYTES = 256 * 1024 * 1024
LAST_DAY_MS = 253_402_300_799_000


class ExportLost(PermanentError):
    """There are exported files that the ledger has no entry for."""


@dataclass
class ExportReport:
    """What an attempt has written.

    Attributes:
        rows: predictions in its files.
        files: number of files.
        left_out: records that are no predictions.
    """

    rows: int = 0
    files: int = 0
    left_out: int = 0


@dataclass(frozen=True)
class _Piece:
    """Records that are written to one file for each day.

    Attributes:
        leader_epoch: of the last record before the piece, where it is known; see `include.kafka.reader.read_range`.
        planned: the ledger has its plan already.
        cut: retention has removed records of it since it was planned.
    """

    start: int
    end: int
    messages: list[Message]
    leader_epoch: int = UNKNOWN_EPOCH
    planned: bool = False
    cut: bool = False

    @property
    def last_leader_epoch(self) -> int:
        """The leader epoch of the record right before `end`; a marker's is not known."""
        return leader_epoch_before(self.end, self.messages)


def export_predictions(attempt: Attempt, pipeline: Pipeline, folder: ExportFolder, *, rows: int) -> ExportReport:
    """Write the predictions that no earlier run has written.

    Files are `day=<YYYY-MM-DD>/<topic>-<topic id>-<partition>-<start>-<end>.parquet`, the id in URL-safe base64, with
    the columns of `include.prediction.read.read_predictions`. The day is that of the prediction's own record in UTC,
    when it was published, so that a day is complete when a run that began after its end has succeeded.

    Args:
        rows: how many records a piece has at most, which must fit into memory; it also ends at 256 MiB of them.

    Raises:
        ExportLost: there are files and no ledger entry.
        ExportRefused, ExportUnreachable, DiskFull: see include.export.folder.
        TopicMissing, TopicRecreated, RangeUnavailable, LogTruncated, ReaderStalled, Fenced, TransactionFailed: see
            include.kafka.
    """
    attempt.require(pipeline.name, STEP)
    topic = pipeline.predictions_topic
    report = ExportReport()
    with attempt.writer(topic) as writer:
        ranges = freeze_ranges(attempt.connection, topic)
        entries = attempt.read_progress(writer, ranges)
        if not entries and (found := folder.names(_name_beginning(ranges[0]))):
            raise ExportLost(
                f"The export's path {folder.path} holds {len(found)} files of {topic} and the ledger has no entry for "
                "any: restore the ledger, or remove the files or correct path of [export] to write them again."
            )
        try:
            with attempt.consumer() as consumer:
                for item in ranges:
                    entry = entries.get(item.partition, {})
                    for piece in _pieces(attempt, consumer, item, entry, rows):
                        attempt.check_stop(f"{report.rows} rows of {topic}")
                        _write(attempt, pipeline, folder, writer, item, piece, report)
        finally:
            log.info("This attempt wrote %d rows in %d files to %s.", report.rows, report.files, folder.path)
            attempt.metrics.count(Counters.EXPORTED, report.rows, pipeline=pipeline.name)
    return report


def _name_beginning(item: OffsetRange) -> str:
    """What the names of all files of the topic begin with.

    The client gives a topic's id in standard base64, in which a `/` would divide the name into folders; this is how
    Kafka's own tools write it.
    """
    return f"{item.topic}-{item.topic_id.translate(URL_SAFE)}-"


def _pieces(
    attempt: Attempt, consumer: Consumer, item: OffsetRange, entry: Mapping[str, Any], rows: int
) -> Iterator[_Piece]:
    """The pieces of a range that are not done, beginning with one that is planned already."""
    connection = attempt.connection
    left, epoch = item, UNKNOWN_EPOCH
    if entry:
        left = replace(item, start=position_in(item, entry, accept_lost=attempt.accept_lost))
        planned = int(entry.get(PLANNED, entry["position"]))
        refuse_truncated(connection, item, {**entry, "position": planned})
        cut = left.start > int(entry["position"])
        if not cut:
            epoch = entry.get("leader_epoch", UNKNOWN_EPOCH)
        if planned > left.start:
            first = replace(left, end=planned)
            messages = list(chain.from_iterable(read_range(connection, consumer, first, leader_epoch=epoch)))
            piece = _Piece(int(entry["position"]), planned, messages, planned=True, cut=cut)
            yield piece
            left, epoch = replace(left, start=planned), piece.last_leader_epoch
    messages_left = chain.from_iterable(read_range(connection, consumer, left, leader_epoch=epoch))
    # The markers at the end belong to the last piece: behind the position they would count as lost records later.
    while left.offsets:
        messages, full = _take(messages_left, rows)
        end = offset_of(messages[-1]) + 1 if full else left.end
        piece = _Piece(left.start, end, messages, epoch)
        yield piece
        left, epoch = replace(left, start=end), piece.last_leader_epoch


def _take(messages: Iterator[Message], rows: int) -> tuple[list[Message], bool]:
    """The next records, and whether there are as many as a piece takes, in number or in bytes."""
    taken: list[Message] = []
    size = 0
    for message in messages:
        taken.append(message)
        size += len(message) + len(message.key() or b"") + headers_size(headers_of([message])[0])
        if len(taken) == rows or size >= PIECE_BYTES:
            return taken, True
    return taken, False


def _write(
    attempt: Attempt,
    pipeline: Pipeline,
    folder: ExportFolder,
    writer: TransactionalWriter,
    item: OffsetRange,
    piece: _Piece,
    report: ExportReport,
) -> None:
    key = attempt.key(progress_scope(item))
    if not piece.planned:
        before = progress_entry(item, piece.start, attempt.run, leader_epoch=piece.leader_epoch)
        with writer.transaction():
            writer.write_ledger(key, {**before, PLANNED: piece.end})
    name = f"{_name_beginning(item)}{item.partition}-{piece.start:020}-{piece.end:020}.parquet"
    for day, messages in _by_day(piece.messages).items():
        table = predictions_table(messages, pipeline.training.task)
        report.left_out += table.attrs[LEFT_OUT]
        file = f"day={day}/{name}"
        # An existing file is complete, and no more records can be read now than when it was written.
        if table.empty or (piece.cut and folder.has(file)):
            continue
        folder.put(file, _parquet(table))
        report.files += 1
        report.rows += len(table)
    after = progress_entry(item, piece.end, attempt.run, leader_epoch=piece.last_leader_epoch)
    with writer.transaction():
        writer.write_ledger(key, after)


def _parquet(table: pd.DataFrame) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    columns = pa.Table.from_pandas(table, preserve_index=False)
    if (labels := columns.schema.get_field_index("labels")) >= 0:
        # Lists that are all empty would have no item type, and the folder could not be read as one table.
        columns = columns.set_column(labels, "labels", columns["labels"].cast(pa.list_(pa.string())))
    content = io.BytesIO()
    parquet.write_table(columns, content)
    return content.getvalue()


def _by_day(messages: Sequence[Message]) -> dict[str, list[Message]]:
    days: defaultdict[str, list[Message]] = defaultdict(list)
    for message in messages:
        # Kafka accepts any timestamp; clamp it to the days that the calendar has.
        milliseconds = min(max(message.timestamp()[1], 0), LAST_DAY_MS)
        days[datetime.fromtimestamp(milliseconds / 1000, UTC).date().isoformat()].append(message)
    return days
