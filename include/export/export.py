"""Write predictions to Parquet files, each once: what a file will hold is in the ledger before it is written.

A piece of a partition, `[start, end)`, is planned in one transaction and noted as done in another, and its files are
written between them under names that the piece gives. Whoever is killed between the two, or goes on though another has
taken over, writes or has written the same rows into the same files.
"""

from __future__ import annotations

import io
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from include.errors import PermanentError, Stopped
from include.exactly_once import ledger
from include.exactly_once.progress import position_in, progress_entry, progress_key, read_progress, refuse_truncated
from include.exactly_once.transaction import TransactionalWriter
from include.kafka.position import UNKNOWN_EPOCH, leader_epoch_before, offset_of
from include.kafka.ranges import OffsetRange, freeze_ranges
from include.kafka.reader import read_range
from include.metrics import Counters, NoMetrics
from include.prediction.read import LEFT_OUT, predictions_table

if TYPE_CHECKING:
    import pandas as pd
    from confluent_kafka import Consumer, Message

    from include.definition.pipeline import Pipeline
    from include.export.folder import ExportFolder
    from include.kafka.connection import KafkaConnection
    from include.metrics import Metrics

log = logging.getLogger(__name__)

STEP = "export"
# Kept with a partition's position: where the piece ends whose files may be there already.
PLANNED = "planned"
LAST_DAY_MS = 253_402_300_799_000


class ExportLost(PermanentError):
    """The ledger knows nothing of files that were exported."""


@dataclass
class ExportReport:
    """What an attempt did.

    Attributes:
        rows: predictions in the files that it wrote.
        files: how many those are.
        left_out: records that are no predictions.
    """

    rows: int = 0
    files: int = 0
    left_out: int = 0


@dataclass(frozen=True)
class _Piece:
    """What goes into one file a day.

    Attributes:
        leader_epoch: of the last record before it, where it is known; see `include.kafka.reader.read_range`.
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
        """Of the record right before `end`; a marker's is not known."""
        return leader_epoch_before(self.end, self.messages)


def export_predictions(
    connection: KafkaConnection,
    pipeline: Pipeline,
    place: ExportFolder,
    *,
    rows: int,
    run: str,
    accept_lost: bool = False,
    stopped: Callable[[], bool] = lambda: False,
    metrics: Metrics | None = None,
) -> ExportReport:
    """Write what the predictions topic has and no earlier run has written.

    Files are `day=<YYYY-MM-DD>/<topic>-<topic id>-<partition>-<start>-<end>.parquet` with the columns of
    `include.prediction.read.read_predictions`. The day is that of the prediction's own record in UTC, when it was
    published, so that a day is whole when a run that began after its end has succeeded.

    Args:
        rows: how many records a piece takes, which memory has to hold.
        accept_lost: go on though retention has removed predictions that were never written.
        stopped: looked at between pieces, and before each commit.

    Raises:
        ExportLost: there are files and no entry of the ledger.
        ExportRefused, ExportUnreachable, DiskFull: see include.export.folder.
        TopicMissing, TopicRecreated, RangeUnavailable, LogTruncated, ReaderStalled, Fenced, TransactionFailed: see
            include.kafka.
    """
    topic = pipeline.predictions_topic
    step = f"{connection.environment}.{pipeline.name}.{STEP}"
    done = ExportReport()
    with TransactionalWriter(connection, f"{step}.{topic}", stopped=stopped) as writer:
        ranges = freeze_ranges(connection, topic)
        # Only now, with every earlier owner fenced, is it decided what was planned and what is done.
        entries = read_progress(connection, pipeline.name, STEP, ranges)
        if not entries:
            _refuse_lost_ledger(place, ranges[0])
        try:
            with connection.consumer(step) as consumer:
                for item in ranges:
                    entry = entries.get(item.partition, {})
                    for piece in _pieces(connection, consumer, item, entry, rows, accept_lost=accept_lost):
                        if stopped():
                            raise Stopped(f"Stopped after {done.rows} rows; the next attempt writes the others.")
                        _write(connection, pipeline, place, writer, item, piece, run, done)
        finally:
            log.info("This attempt wrote %d rows in %d files to %s.", done.rows, done.files, place.path)
            (metrics or NoMetrics()).count(Counters.EXPORTED, done.rows, pipeline=pipeline.name)
    return done


def _refuse_lost_ledger(place: ExportFolder, item: OffsetRange) -> None:
    if found := place.names(f"{item.topic}-{item.topic_id}-"):
        raise ExportLost(
            f"The export's path {place.path} holds {len(found)} files of {item.topic} and the ledger knows of none: "
            "restore the ledger, or remove the files or correct path of [export] to have them written again."
        )


def _pieces(
    connection: KafkaConnection,
    consumer: Consumer,
    item: OffsetRange,
    entry: Mapping[str, Any],
    rows: int,
    *,
    accept_lost: bool,
) -> Iterator[_Piece]:
    """What is left of a range, a piece that was planned and not done first."""
    left, epoch = item, UNKNOWN_EPOCH
    if entry:
        left = replace(item, start=position_in(item, entry, accept_lost=accept_lost))
        planned = int(entry.get(PLANNED, entry["position"]))
        refuse_truncated(connection, item, {**entry, "position": planned})
        cut = left.start > int(entry["position"])
        if not cut:
            epoch = entry.get("leader_epoch", UNKNOWN_EPOCH)
        if planned > left.start:
            begun = replace(left, end=planned)
            messages = list(chain.from_iterable(read_range(connection, consumer, begun, leader_epoch=epoch)))
            piece = _Piece(int(entry["position"]), planned, messages, planned=True, cut=cut)
            yield piece
            left, epoch = replace(left, start=planned), piece.last_leader_epoch
    messages_left = chain.from_iterable(read_range(connection, consumer, left, leader_epoch=epoch))
    # What is no record, at the end, is passed over too: it would be taken for lost when retention has removed it.
    while left.offsets:
        messages = list(islice(messages_left, rows))
        end = offset_of(messages[-1]) + 1 if len(messages) == rows else left.end
        piece = _Piece(left.start, end, messages, epoch)
        yield piece
        left, epoch = replace(left, start=end), piece.last_leader_epoch


def _write(
    connection: KafkaConnection,
    pipeline: Pipeline,
    place: ExportFolder,
    writer: TransactionalWriter,
    item: OffsetRange,
    piece: _Piece,
    run: str,
    done: ExportReport,
) -> None:
    key = progress_key(connection, pipeline.name, STEP, item)
    if not piece.planned:
        before = progress_entry(item, piece.start, run, leader_epoch=piece.leader_epoch)
        with writer.transaction():
            ledger.record(writer, key, {**before, PLANNED: piece.end})
    name = f"{item.topic}-{item.topic_id}-{item.partition}-{piece.start:020}-{piece.end:020}.parquet"
    for day, messages in _by_day(piece.messages).items():
        table = predictions_table(messages, pipeline.training.task)
        done.left_out += table.attrs[LEFT_OUT]
        file = f"day={day}/{name}"
        # A file is there whole, and more can't be read now than then.
        if table.empty or (piece.cut and place.has(file)):
            continue
        place.put(file, _parquet(table))
        done.files += 1
        done.rows += len(table)
    after = progress_entry(item, piece.end, run, leader_epoch=piece.last_leader_epoch)
    with writer.transaction():
        ledger.record(writer, key, after)


def _parquet(table: pd.DataFrame) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    columns = pa.Table.from_pandas(table, preserve_index=False)
    if (labels := columns.schema.get_field_index("labels")) >= 0:
        # Lists that are all empty would be some of nothing, and the folder could not be read as one table.
        columns = columns.set_column(labels, "labels", columns["labels"].cast(pa.list_(pa.string())))
    content = io.BytesIO()
    parquet.write_table(columns, content)
    return content.getvalue()


def _by_day(messages: Sequence[Message]) -> dict[str, list[Message]]:
    days: defaultdict[str, list[Message]] = defaultdict(list)
    for message in messages:
        # Kafka takes any number from whoever writes; this keeps the calendar's.
        milliseconds = min(max(message.timestamp()[1], 0), LAST_DAY_MS)
        days[datetime.fromtimestamp(milliseconds / 1000, UTC).date().isoformat()].append(message)
    return days
