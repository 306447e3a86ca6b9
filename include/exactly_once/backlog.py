"""The backlog of any step: what it has not processed of a topic, from the topic's end offsets and the ledger.

`include.training.backlog` and `include.prediction.backlog` say what is new to their steps, and when it is enough for a
run; `include.backlogs` asks them for all pipelines.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from include.exactly_once.progress import remaining
from include.exactly_once.snapshot import snapshot_progress
from include.kafka.connection import KafkaConnection
from include.kafka.errors import LogTruncated, TopicRecreated
from include.kafka.ranges import OffsetRange

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Backlog:
    """What a step has not processed of a topic, by partition; the ranges are an upper bound of records.

    Attributes:
        ranges: one for each partition, from its first record to its last stable offset.
        unprocessed: the end of each of `ranges` that the step has not processed, empty ones included.
        lost: by partition, how many offsets retention removed before the step processed them.
        begun: whether the ledger has an entry for any of the partitions.
    """

    ranges: tuple[OffsetRange, ...]
    unprocessed: tuple[OffsetRange, ...]
    lost: Mapping[int, int]
    begun: bool

    @property
    def offsets(self) -> int:
        return sum(item.offsets for item in self.unprocessed)

    @property
    def positions(self) -> dict[int, int]:
        """The next offset to process, by partition."""
        return {item.partition: item.start for item in self.unprocessed}


def read_backlog(
    connection: KafkaConnection,
    pipeline: str,
    step: str,
    ranges: Sequence[OffsetRange],
    *,
    accept_lost: bool = False,
    accept_other_records: bool = False,
) -> Backlog:
    """The backlog of a step in frozen ranges.

    The ledger is read without fencing any attempt, so another one may be processing a part of the backlog.

    Args:
        ranges: whole partitions of one topic, see `freeze_ranges`.
        accept_lost: count lost offsets and do not refuse them.
        accept_other_records: take all of a partition as unprocessed, with a warning, where its offsets now stand for
            other records than those that were processed.

    Raises:
        RangeUnavailable: records were lost, unless `accept_lost`.
        TopicRecreated, LogTruncated: the offsets stand for other records, unless `accept_other_records`.
    """
    entries = snapshot_progress(connection, pipeline, step, ranges)
    return backlog_after(
        connection, ranges, entries, accept_lost=accept_lost, accept_other_records=accept_other_records
    )


def backlog_after(
    connection: KafkaConnection,
    ranges: Sequence[OffsetRange],
    entries: Mapping[int, Mapping[str, Any]],
    *,
    accept_lost: bool = False,
    accept_other_records: bool = False,
) -> Backlog:
    """The backlog behind the positions that the ledger has by partition; see `read_backlog`."""
    unprocessed: list[OffsetRange] = []
    lost: dict[int, int] = {}
    for item in ranges:
        entry = entries.get(item.partition, {})
        try:
            rest, _ = remaining(connection, item, entry, accept_lost=accept_lost)
        except (TopicRecreated, LogTruncated) as error:
            if not accept_other_records:
                raise
            log.warning("%s All records of the partition count as new.", error)
            rest = item
        else:
            if entry and (missing := item.start - int(entry["position"])) > 0:
                lost[item.partition] = missing
        unprocessed.append(rest)
    return Backlog(tuple(ranges), tuple(unprocessed), lost, begun=bool(entries))
